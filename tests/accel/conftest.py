"""One tiny quantised run for all tests of this folder; each test gets a copy."""

import pytest
import quantised


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A trained run; nobody writes into it."""
    return quantised.train(tmp_path_factory.mktemp("trained") / "tiny")


@pytest.fixture(scope="session")
def quantised_run(trained_run, tmp_path_factory):
    """A run with a quantised network, without exports; nobody writes into it."""
    folder = quantised.copied(trained_run, tmp_path_factory.mktemp("quantised") / "run")
    quantised.quantise(folder, formats=(), golden_images=0)
    return folder


@pytest.fixture
def run(quantised_run, tmp_path):
    """A quantised run of the test's own."""
    return quantised.copied(quantised_run, tmp_path / "run")
