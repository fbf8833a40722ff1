"""Interval bounds of the model with fake quantisation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from integers import SPECS, images, spec

from quant.calibrate import calibrate, observe
from quant.qat import fake_model, make_plan
from quant.settings import Quantization
from train import bounds
from train.model import Model, build


def quantised(name: str, settings: Quantization) -> Model:
    network = spec(name)
    model = build(network, key=jax.random.key(0))
    steps = calibrate(
        make_plan(network, settings),
        model,
        observe(network, model, images(network, 20)),
        settings,
    )
    return fake_model(network, model, steps)


def outside(model: Model, levels: float) -> int:
    """Values of any layer, for random images of the box, that are not in its interval."""
    pixels = jnp.asarray(images(model.network, 4, seed=5))
    box = bounds.pixels_within(pixels, levels)
    low, high = (np.asarray(end) for end in box)
    share = np.random.default_rng(0).uniform(size=(200, *low.shape))
    points = np.rint(low + share * (high - low)).astype(np.float32)
    found = jax.jit(lambda box: bounds.propagate(model, box))(box)
    outputs = jax.jit(lambda x: model.outputs(x))(points.reshape(-1, *low.shape[1:]))
    wrong = 0
    for name, y in outputs.items():
        y = np.asarray(y).reshape(200, 4, *y.shape[1:])
        ends = found[name]
        wrong += int(((y < ends.low[None]) | (y > ends.high[None])).sum())
    return wrong


@pytest.mark.parametrize("name", ["cnn", "mean"])
def test_every_quantised_output_stays_in_its_interval(name: str, monkeypatch) -> None:
    """Exactly, both being on the same grid; with the signs of W in the radius not."""
    assert name in SPECS
    model = quantised(name, Quantization(weight_bits=4))
    assert bounds.rounds(model)
    assert outside(model, 20) == 0

    def signed(layer: nnx.Module) -> nnx.Module:
        copy = nnx.clone(layer)
        copy.bias[...] = jnp.zeros_like(layer.bias[...])
        return copy

    monkeypatch.setattr(bounds, "_magnitudes", signed)
    assert outside(model, 20) > 0


@pytest.mark.parametrize("bits", [2, 8])
def test_quantised_magnitudes_are_magnitudes_of_the_quantised(bits: int) -> None:
    """|q(W)| = q(|W|) to the bit, so the radius may take either."""
    model = quantised("cnn", Quantization(weight_bits=bits))
    for name, layer in model.layers.items():
        fake = partial(model.activation_quantizer.fake_weights, name)
        kernel = layer.kernel[...]
        np.testing.assert_array_equal(jnp.abs(fake(kernel)), fake(jnp.abs(kernel)))
