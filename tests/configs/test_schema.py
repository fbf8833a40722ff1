"""Settings out of range, or that do not go together, are refused by name."""

import dataclasses
import re

import pytest

from configs import registry
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network
from configs.schema import Augment, Data, Experiment, Optimizer, Train, smoke

NETWORK = Network(input_shape=(4,), layers=(Dense(features=2),))


@pytest.mark.parametrize(
    ("kind", "field", "values", "rule"),
    [
        (Data, "name", [""], "must not be empty; use mnist."),
        (Data, "path", [""], "must not be empty; name a file"),
        (Data, "dir", [""], "must not be empty; name a file"),
        (Data, "validation", [-1], "must be 0 (none) or more."),
        (Data, "limit", [-1], "must be 0 (all) or more images."),
        (Augment, "shift_px", [-1, -0.5], "must be 0 (no shift) or more."),
        (Augment, "rotate_deg", [-1, 180.5], "must be in 0..180; 0 turns it off."),
        (Optimizer, "learning_rate", [0, -1e-3], "must be above 0; try 0.002."),
        (Optimizer, "weight_decay", [-1e-9], "must be 0 (none) or more."),
        (Optimizer, "warmup", [-0.1, 1, 1.5], "at least 0 (none) and below 1."),
        (Optimizer, "label_smoothing", [-0.1, 1], "at least 0 (none) and below 1."),
        (Train, "epochs", [-1], "must be 0 or more."),
        (Train, "patience", [-1], "must be 0 or more."),
        (Train, "microbatch", [-1], "must be 0 or more."),
        (Train, "checkpoint_every_s", [-1, -0.5], "must be 0 or more."),
        (Train, "batch", [0, -1], "must be 1 or more."),
        (Train, "cpu_devices", [0, -1], "must be 1 or more."),
        (Train, "checkpoints", [1, 0, -1], "must be 2 or more: one may be damaged."),
    ],
)
def test_out_of_range_is_refused(kind, field, values, rule):
    for value in values:
        with pytest.raises(InputError, match=re.escape(rule)) as refused:
            kind(**{field: value})
        start = f"`{field}` (={value!r}) of {kind.__name__} must "
        assert str(refused.value).startswith(start)


def test_the_ends_of_the_ranges_are_allowed():
    assert Augment(rotate_deg=180)
    assert Optimizer(warmup=0, label_smoothing=0, weight_decay=0)
    assert Train(epochs=0, patience=0, microbatch=0, checkpoint_every_s=0)


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "a/b", "/a", "a\\b", "a\n", "a\0b", "-a", ".a", "a.", "x" * 101],
)
def test_a_name_that_makes_no_folder_is_refused(name):
    with pytest.raises(InputError, match=r"`name` .* must be at most 100 letters, digits"):
        Experiment(name=name, network=NETWORK)


@pytest.mark.parametrize("name", ["a", "mnist_cnn", "v1.2-b", "my run", "größe", "_"])
def test_a_plain_name_is_allowed(name):
    assert Experiment(name=name, network=NETWORK).name == name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seed": -1}, r"`seed` \(=-1\) of Experiment must be in 0..2\^32-1; use 0."),
        ({"seed": 2**32}, r"`seed` \(=4294967296\) of Experiment must be in"),
        (
            {"task": "regression", "widths": (4, 0)},
            r"`widths` \(=\(4, 0\)\) of Experiment must be positive; use 1 or more.",
        ),
        ({"widths": (4,)}, "`widths` .* belong to regression; leave them empty"),
        (
            {"train": Train(patience=3)},
            r"`train.patience` \(=3\) needs held-out images; set `data.validation`",
        ),
        (
            {"network": Network(input_shape=(4, 4, 1), layers=(Conv(features=2),))},
            r"`network` of experiment x must end in a vector, not \(2, 2, 2\); end it",
        ),
        (
            {"network": Network(input_shape=(4,), layers=(Dense(features=1),))},
            r"`network` of experiment x must end in one number per class, at least 2",
        ),
        (
            {"network": Network(input_shape=(4, 4, 1), layers=(Flatten(),))},
            "`network` of experiment x must have weights to train, it has 0; add a",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Experiment(**{"name": "x", "network": NETWORK, **fields})


@pytest.mark.parametrize("name", registry.experiment_names())
def test_smoke_is_small_and_keeps_the_network(name):
    experiment = registry.load_experiment(name)
    small = smoke(experiment)
    assert small.network == experiment.network
    assert small.name == experiment.name
    assert small.train.epochs <= 1
    assert small.train.batch <= 64
    assert 0 < small.data.limit <= 512
    assert small.data.validation <= 128
    assert len(small.widths) <= 2
    assert smoke(small) == small


def test_smoke_keeps_the_batch_divisible_by_the_devices():
    for devices in (1, 2, 3, 5, 100):
        train = Train(batch=60 * devices, cpu_devices=devices)
        small = smoke(Experiment(name="x", network=NETWORK, train=train))
        assert small.train.batch % devices == 0


def test_smoke_makes_nothing_larger():
    train, data = Train(epochs=0, batch=8), Data(limit=16, validation=4)
    tiny = Experiment(name="x", network=NETWORK, train=train, data=data)
    assert smoke(tiny) == tiny


def test_an_experiment_is_frozen_and_hashable():
    experiment = registry.load_experiment("mnist_cnn")
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.seed = 1
    assert hash(experiment) == hash(registry.load_experiment("mnist_cnn"))


@pytest.mark.parametrize("augment", [Augment(shift_px=1), Augment(rotate_deg=5)])
def test_only_images_can_be_shifted_or_rotated(augment):
    with pytest.raises(InputError, match=r"`network.input_shape` is \(4,\); set shift_px"):
        Experiment(name="vector", network=NETWORK, augment=augment)
