"""One tiny run for all tests of this folder; each test gets a copy."""

import flips
import pytest
import quantised

from quant import stage


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A trained run; nobody writes into it."""
    return quantised.train(tmp_path_factory.mktemp("trained") / "tiny")


@pytest.fixture
def run(trained_run, tmp_path):
    """A trained run of the test's own."""
    return quantised.copied(trained_run, tmp_path / "run")


@pytest.fixture(scope="session")
def quantised_run(trained_run, tmp_path_factory):
    """A run with a quantised network and all exports; nobody writes into it."""
    folder = tmp_path_factory.mktemp("quantised") / "run"
    quantised.copied(trained_run, folder)
    quantised.quantise(folder, golden_images=1)
    return folder


@pytest.fixture
def finished(quantised_run, tmp_path):
    """A quantised run of the test's own."""
    return quantised.copied(quantised_run, tmp_path / "finished")


@pytest.fixture(scope="session")
def fine_tuned_run(trained_run, tmp_path_factory):
    """A run with a fine-tuned network, pictures and all exports, and its metrics; nobody
    writes into it."""
    folder = quantised.copied(trained_run, tmp_path_factory.mktemp("whole") / "run")
    return folder, stage.run(folder, quantised.FINE_TUNED, display=quantised.QUIET)


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    """By activation: a network without and one with a table; nobody writes into them."""
    made = {kind: quantised.small(kind) for kind in flips.KINDS}
    return {k: flips.Case(n, tmp_path_factory.mktemp(k)) for k, n in made.items()}
