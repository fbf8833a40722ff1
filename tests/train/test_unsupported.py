"""Layers that only cost models know are refused by name, before anything is made."""

import dataclasses
import json

import jax
import pytest

from configs import registry, stored
from configs.errors import InputError
from configs.network import (
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    LstmCell,
    Network,
    Pool,
    Residual,
)
from configs.schema import Data, Experiment
from train import cli, stage
from train.model import build
from train.unsupported import refuse_unsupported

LAST = Dense(features=10, activation="identity")
UNSUPPORTED = {
    "residual": (
        (Residual(body=(Conv(features=1, padding="zero"),)), Flatten(), LAST),
        r"`network.layers\[0\]` \(residual1\) cannot be trained yet: it is a Residual",
    ),
    "groups": (
        (Conv(features=4), Conv(features=4, groups=2), Flatten(), LAST),
        r"`network.layers\[1\]` \(conv2\) .*: it is a Conv in `groups` \(=2\); replace it",
    ),
    "lstm": (
        (Flatten(), LstmCell(features=10)),
        r"`network.layers\[1\]` \(lstmcell1\) .*: it is an LstmCell",
    ),
    "pool": (
        (Pool(padding="zero"), Flatten(), LAST),
        r"`network.layers\[0\]` \(pool1\) .*: it is a Pool with `padding` \(=zero\)",
    ),
}


def experiment(kind):
    layers, message = UNSUPPORTED[kind]
    network = Network(input_shape=(28, 28, 1), layers=layers)
    made = Experiment(name="mine", network=network, data=Data(source="embedded", limit=64))
    return made, message


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_training_is_refused_before_anything_is_made(kind, tmp_path, monkeypatch):
    made, message = experiment(kind)
    monkeypatch.setattr(stage.data, "load", lambda data: pytest.fail("data were loaded"))
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match=message):
            stage.run(made, tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_a_users_file_is_one_line_and_exit_status_2(kind, tmp_path, monkeypatch, capsys):
    """As a .py file with get_config(), which `configs show` still describes."""
    made, message = experiment(kind)
    monkeypatch.chdir(tmp_path)
    text = json.dumps(json.dumps(stored.to_dict(made)))
    (tmp_path / "mine.py").write_text(
        "import json\nfrom configs import stored\n"
        f"def get_config():\n    return stored.from_dict(json.loads({text}))\n"
    )
    assert registry.load("mine.py").experiment == made
    for arguments in ([], ["--smoke"], ["--run", "elsewhere", "--overwrite"]):
        assert cli.main(["--config", "mine.py", *arguments]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        with pytest.raises(InputError, match=message):
            raise InputError(printed.err)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_an_override_is_refused_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--config", "mnist_cnn", "--network.layers.1.padding", "zero"]
    assert cli.main(arguments) == 2
    assert "(pool1) cannot be trained yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_no_model_is_made_of_it(kind):
    """Whatever leads there: a run directory that was changed by hand, for one."""
    made, message = experiment(kind)
    with pytest.raises(InputError, match=message):
        build(made.network, key=jax.random.key(0))


@pytest.mark.parametrize("name", registry.experiment_names())
def test_the_experiments_of_this_package_are_supported(name):
    refuse_unsupported(registry.load_network(name), "trained")


def test_every_other_layer_is_supported():
    """Also where the fields that came later are written out at their defaults."""
    layers = (
        Conv(features=4, groups=1, padding="mean"),
        Pool(padding="valid", kind="mean"),
        GlobalPool(),
        LAST,
    )
    network = Network(input_shape=(28, 28, 1), layers=layers)
    refuse_unsupported(network, "trained")
    plain = dataclasses.replace(network, layers=(Flatten(), LAST))
    refuse_unsupported(plain, "trained")
    assert build(plain, key=jax.random.key(0))
