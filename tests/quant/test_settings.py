"""What may be set about quantisation, and everything that is refused."""

import dataclasses

import pytest
from integers import spec

from configs.errors import InputError
from configs.network import Dense, Network
from quant.settings import Quantization, Widths

CNN = spec("cnn")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weight_bits": 1}, r"`weight_bits` \(=1\) of Quantization must be in 2..8 bits"),
        ({"weight_bits": 9}, r"`weight_bits` \(=9\) .* in 2..8 bits"),
        ({"weight_bits": 4.0}, r"`weight_bits` \(=4.0\) .* a whole number"),
        ({"weight_bits": True}, r"`weight_bits` \(=True\) .* a whole number"),
        ({"activation_bits": 0}, r"`activation_bits` \(=0\) .* in 2..8 bits"),
        ({"activation_bits": 16}, r"`activation_bits` \(=16\) .* in 2..8 bits"),
        ({"epochs": -1}, r"`epochs` \(=-1\) .* 0 \(no training\) or more"),
        ({"learning_rate": 0.0}, r"`learning_rate` \(=0.0\) .* above 0; try 0"),
        ({"learning_rate": float("nan")}, r"`learning_rate` \(=nan\) .* a finite number"),
        ({"calibration": "max"}, r"`calibration` \(='max'\) .* one of mse, minmax"),
        ({"percentile": 50}, r"`percentile` \(=50\) .* above 50 and at most 100"),
        ({"percentile": 100.5}, r"`percentile` \(=100.5\) .* above 50 and at most 100"),
        ({"calibration_images": 0}, r"`calibration_images` \(=0\) .* 1 or more; try 512"),
        ({"weight_scales": "tensor"}, r"`weight_scales` \(='tensor'\) .* channel, layer"),
        ({"weight_steps": "pact"}, r"`weight_steps` \(='pact'\) .* one of lsq, fixed"),
        ({"activation_steps": "off"}, r"`activation_steps` \(='off'\) .* lsq, pact, fixed"),
        ({"seed": -1}, r"`seed` \(=-1\) .* 0..2\^32-1"),
        ({"seed": 2**32}, r"`seed` \(=4294967296\) .* 0..2\^32-1"),
        ({"layers": "conv1=w4"}, r"`layers` \(='conv1=w4'\) .* a tuple"),
        ({"layers": ["conv1=w4"]}, r"`layers` .* a tuple"),
    ],
)
def test_refusals(fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Quantization(**fields)


@pytest.mark.parametrize(
    "override",
    [
        "conv1", "conv1=", "=w4", "conv1=4", "conv1=w", "conv1=w4a", "conv1=w1", "conv1=a9",
        "conv1=w4a1", "conv1=w10a4", "conv1=a4w4", "conv1=w4 a4", "conv1 =w4", "conv1=W4",
        "conv1=w4\n", "conv1=w-4", "conv1=w4.0", "", "conv1=w4,conv2=w4",
    ],
)  # fmt: skip
def test_overrides_of_another_form_are_refused_when_made(override: str) -> None:
    with pytest.raises(InputError, match=r"`layers` .* must be LAYER=wBITS") as refusal:
        Quantization(layers=("conv2=w8", override))
    assert "write it like conv1=w4a8." in str(refusal.value)


def test_the_widest_values_are_accepted() -> None:
    Quantization(
        weight_bits=2, activation_bits=2, epochs=0, percentile=100, seed=2**32 - 1,
        calibration_images=1, learning_rate=1,
    )  # fmt: skip
    Quantization(percentile=50.001, seed=0)


def test_the_output_of_the_network_keeps_8_bits() -> None:
    """Its weights do not."""
    widths = Quantization(weight_bits=4, activation_bits=3).widths(CNN)
    assert widths == {
        "conv1": Widths(4, 3),
        "conv2": Widths(4, 3),
        "dense1": Widths(4, 3),
        "dense2": Widths(4, 8),
    }
    assert list(widths) == ["conv1", "conv2", "dense1", "dense2"]


@pytest.mark.parametrize(
    ("overrides", "layer", "widths"),
    [
        (("conv2=w8",), "conv2", (8, 3)),
        (("conv2=a8",), "conv2", (4, 8)),
        (("conv2=w8a7",), "conv2", (8, 7)),
        (("first=w8a8",), "conv1", (8, 8)),
        (("first=a2",), "conv1", (4, 2)),
        (("last=w8",), "dense2", (8, 8)),
        (("last=a5",), "dense2", (4, 5)),
        (("dense2=w2a6",), "dense2", (2, 6)),
        # One after the other: the later wins, and what it leaves out stays.
        (("conv2=w8a8", "conv2=w2"), "conv2", (2, 8)),
        (("first=w8", "conv1=a8"), "conv1", (8, 8)),
        (("conv1=w2", "first=w7"), "conv1", (7, 3)),
    ],
)
def test_overrides(overrides: tuple, layer: str, widths: tuple) -> None:
    """The layer named has these widths; no other layer has changed."""
    base = Quantization(weight_bits=4, activation_bits=3)
    plain = base.widths(CNN)
    changed = dataclasses.replace(base, layers=overrides).widths(CNN)
    assert changed == {**plain, layer: Widths(*widths)}
    assert changed != plain


def test_first_and_last_are_one_in_a_network_of_one_layer() -> None:
    network = Network(input_shape=(3,), layers=(Dense(features=2),))
    settings = Quantization(activation_bits=4, layers=("first=w3", "last=a6"))
    assert settings.widths(network) == {"dense1": Widths(3, 6)}


@pytest.mark.parametrize("name", ["conv3", "pool1", "flatten1", "Conv1", "input"])
def test_an_override_of_no_layer_with_weights_names_those_there_are(name: str) -> None:
    """Only the network can tell, so that settings alone accept it."""
    settings = Quantization(layers=(f"{name}=w4",))
    message = rf"`layers` \(={name}=w4\) .* conv1, conv2, dense1, dense2\."
    with pytest.raises(InputError, match=message):
        settings.widths(CNN)
