"""Every field of every spec refuses what its annotation does not allow."""

import dataclasses
import math
import typing

import pytest

from configs.checks import brief, field_types, kinds_of
from configs.errors import InputError
from configs.network import (
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    Layer,
    LstmCell,
    Network,
    Pool,
    Residual,
)
from configs.schema import Augment, Data, Experiment, Optimizer, Train

NETWORK = Network(input_shape=(4,), layers=(Dense(features=2),))
VALID = {
    Conv: {"features": 1},
    Dense: {"features": 1},
    Pool: {},
    GlobalPool: {},
    Flatten: {},
    LstmCell: {"features": 1},
    Residual: {"body": (Flatten(),)},
    Network: {"input_shape": (4,), "layers": (Dense(features=2),)},
    Data: {},
    Augment: {},
    Optimizer: {},
    Train: {},
    Experiment: {"name": "x", "network": NETWORK},
}
# Fit no annotation at all.
NEVER = [True, [3, 3], {"a": 1}, 3j, b"mnist", object(), math.nan, math.inf]
# Besides those, by annotation.
WRONG = {
    int: ["3", 3.0, None, (3,), -math.inf],
    float: ["0.5", None, (0.5,), -math.inf, 10**400],
    str: [3, None, ("mnist",)],
    str | None: [3, ("mnist",), 0.5],
    tuple[int, int]: [3, "33", None, (), (3,), (3, 3, 3), (3, 1.5), (3, "3"), (True, 3)],
    tuple[int, ...]: [3, "33", None, (3, 1.5), (None,)],
}


def wrong_values(annotation):
    if typing.get_origin(annotation) is typing.Literal:
        return [*NEVER, "same", "", 3, None, ("max",)]
    if annotation is bool:
        return [*NEVER[1:], 1, 0, "True", None]
    return [*NEVER, *WRONG.get(annotation, [3, "x", None, (3,), (Train,), Train])]


CASES = [
    pytest.param(kind, field, value, id=f"{kind.__name__}.{field}-{brief(value)[:20]}")
    for kind in VALID
    for field, annotation in field_types(kind).items()
    for value in wrong_values(annotation)
]


@pytest.mark.parametrize(("kind", "field", "value"), CASES)
def test_a_value_of_the_wrong_type_is_refused_by_name(kind, field, value):
    with pytest.raises(InputError) as refused:
        kind(**{**VALID[kind], field: value})
    message = str(refused.value)
    assert message.startswith((f"`{field}` (=", f"`{field}["))
    assert f" of {kind.__name__} must be " in message
    assert "; write it like " in message
    assert "\n" not in message


def test_the_valid_values_are_valid():
    """Or the cases above would prove nothing."""
    for kind, fields in VALID.items():
        assert dataclasses.is_dataclass(kind(**fields))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Train(epochs="3"),
            "`epochs` (='3') of Train must be a whole number; write it like 3.",
        ),
        (
            lambda: Conv(features=8, kernel=3),
            "`kernel` (=3) of Conv must be a tuple of 2, each item a whole number; "
            "write it like (3, 3).",
        ),
        (
            lambda: Conv(features=8, kernel=(3, 1.5)),
            "`kernel[1]` (=1.5) of Conv must be a whole number; write it like 3.",
        ),
        (
            lambda: Conv(features=8, padding="same"),
            "`padding` (='same') of Conv must be one of valid, zero, mean, edge; "
            "write it like 'valid'.",
        ),
        (
            lambda: Optimizer(learning_rate=math.nan),
            "`learning_rate` (=nan) of Optimizer must be a finite number; "
            "write it like 0.5.",
        ),
        (
            lambda: Data(path=3),
            "`path` (=3) of Data must be text or None; write it like 'mnist'.",
        ),
        (
            lambda: Data(rotated=1),
            "`rotated` (=1) of Data must be True or False; write it like True.",
        ),
        (
            lambda: Network(input_shape=(4,), layers=[Dense(features=2)]),
            "`layers` (=[Dense(features=2, activation='relu', symmetry='none')]) of "
            "Network must be a tuple, each item KINDS; write it like (Conv(...),).",
        ),
        (
            lambda: Network(input_shape=(4,), layers=(Flatten(), "relu")),
            "`layers[1]` (='relu') of Network must be KINDS; write it like Conv(...).",
        ),
        (
            lambda: Experiment(name="x", network=NETWORK, train={}),
            "`train` (={}) of Experiment must be Train; write it like Train(...).",
        ),
    ],
)
def test_the_message_says_rule_value_and_way_out(make, message):
    with pytest.raises(InputError) as refused:
        make()
    # Other files of the suite make up kinds of their own.
    assert str(refused.value) == message.replace("KINDS", " or ".join(kinds_of(Layer)))


def test_whole_numbers_are_floats_and_large_ones_are_fine():
    assert Augment(shift_px=2) == Augment(shift_px=2.0)
    assert Dense(features=10**30).weights((10**30,)) == 10**60


def test_a_long_value_is_shortened():
    assert brief("x" * 100) == "'" + "x" * 56 + "..."
    assert brief("a\nb") == r"'a\nb'"
