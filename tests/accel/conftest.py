"""One tiny quantised run for all tests of this folder; each test gets a copy."""

import pytest
import quantised

from accel.cli import main as cli
from accel.machines.machine import Systolic
from accel.simulate import batched_tiles, register_level
from accel.verify import stage
from accel.verify.run import Setup

# A small array, few images, and a last batch that is not full.
IMAGES = 3
SETUP = Setup(machine=Systolic(rows=4, cols=4), batch=2)


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


@pytest.fixture(scope="session")
def verified_run(quantised_run, tmp_path_factory):
    """A run that was verified on systolic_ws_4x4; nobody writes into it."""
    folder = quantised.copied(quantised_run, tmp_path_factory.mktemp("verified") / "run")
    stage.run_verify(folder, SETUP, images=IMAGES)
    return folder


@pytest.fixture
def run(quantised_run, tmp_path):
    """A quantised run of the test's own."""
    return quantised.copied(quantised_run, tmp_path / "run")


@pytest.fixture
def verified(verified_run, tmp_path):
    """A verified run of the test's own."""
    return quantised.copied(verified_run, tmp_path / "verified")


@pytest.fixture
def main(monkeypatch):
    """`python -m accel ARGUMENTS` in this process, whose JAX devices are chosen already.

    A refusal of the parser is its exit status too.
    """
    monkeypatch.setattr(cli, "_prepare", lambda: None)

    def start(*arguments) -> int:
        try:
            return cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            return end.code

    return start


@pytest.fixture(scope="module")
def small_programs():
    """Few programs, and pieces, groups and chunks are met everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register_level, "_PIECE", 64)
        patch.setattr(register_level, "_PLANE", 1)
        patch.setattr(batched_tiles, "_EDGES", 64)
        patch.setattr(batched_tiles, "_MOST_LANES", 2)
        yield
