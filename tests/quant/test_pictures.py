"""The pictures show the values and the ranges that the network has."""

import integers
import numpy as np
import pytest
import quantised
from PIL import Image

from quant import fit, normative, pictures
from quant.measure import layer_data, saturation
from train import stage as training
from train.plots import ORANGE

DRAW = np.random.default_rng(0)


@pytest.fixture(scope="module")
def network():
    return quantised.small("tanh")


def kernels(network):
    """Float weights that lie on the grid, but for one beyond its end in each layer."""
    found = {}
    for layer in network.walk():
        if layer.weighted:
            kernel = layer.weighted.weights * layer.weight_scale()
            kernel.flat[0] = 200 * layer.weight_scale()[0]
            found[layer.name] = kernel
    return found


def limits(axes):
    """Where the orange lines stand."""
    lines = [line for line in axes.get_lines() if line.get_color() == ORANGE]
    return sorted(line.get_xdata()[0] for line in lines)


def test_weights_are_drawn_in_steps_of_their_channel(network):
    figure = pictures.weights_figure(network, kernels(network), name="small")
    panels = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "conv1: 8 bits", "dense1: 8 bits",
    ]  # fmt: skip
    for axes, layer in zip(panels, ("conv1", "dense1"), strict=True):
        count = network.weighted[layer].weights.size
        assert limits(axes) == [-127, 127]
        assert axes.get_xlabel() == f"weight / step, {100 / count:.2f} % clipped"
        stairs = axes.patches[0].get_data()
        steps = network.weighted[layer].weights.astype(float).ravel()
        steps[0] = 200
        counts, _ = np.histogram(steps, len(stairs.values), (-127, 200))
        assert stairs.edges[-1] == pytest.approx(200)
        # A weight at the edge of a bin may fall to either side.
        assert np.abs(np.cumsum(count * stairs.values - counts)).max() < 1.5


def test_activations_are_drawn_with_the_range_of_their_integers(network):
    seen = {
        layer.name: DRAW.normal(size=(4, *layer.shape))
        for layer in network.walk()
        if layer.weighted
    }
    cut = {"conv1": 0.25, "dense1": 0.0}
    figure = pictures.activations_figure(network, seen, cut, name="small")
    for axes, layer in zip(figure.axes, ("conv1", "dense1"), strict=True):
        kind = network.weighted[layer].output
        step = f"step 2^{kind.exponent}"
        assert axes.get_title(loc="left") == f"{layer}: int8, {step}"
        assert limits(axes) == [-128 * kind.scale, 127 * kind.scale]
        assert axes.get_xlabel() == f"value, {100 * cut[layer]:.3f} % saturated"


def test_an_unsigned_output_has_one_limit():
    network = quantised.small("relu")
    seen = {n: np.abs(DRAW.normal(size=(9, 2))) for n in ("conv1", "dense1")}
    cut = dict.fromkeys(seen, 0.0)
    axes = pictures.activations_figure(network, seen, cut, name="small").axes[0]
    kind = network.weighted["conv1"].output
    assert limits(axes) == [255 * kind.scale]
    assert axes.get_title(loc="left").startswith("conv1: uint8")


def test_the_pictures_of_a_run_are_files(quantised_run, tmp_path):
    trained = training.load(quantised_run)
    dataset = training.load_data(trained)
    fitted = fit.quantise(trained, dataset, quantised.AS_IT_IS)
    pictures.write_pictures(tmp_path, trained=trained, fitted=fitted, dataset=dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "activations.png", "weights.png",
    ]  # fmt: skip
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert np.ptp(np.asarray(picture.convert("L"))) > 100


def test_saturation_counts_what_a_wider_format_would_hold():
    """Against the normative text: beyond the top for ReLU, both ends without."""
    for kind in ("relu", "identity"):
        network = quantised.small(kind)
        images = integers.images(network.network, 50)
        cut = saturation(network, images)
        for step in normative.steps(network, images):
            w = step.layer.weighted
            if w is None:
                continue
            whole = np.array(
                [round(x) for x in (step.sums * w.multiplier / 2**w.shift).ravel()]
            )
            low = w.sum.low if w.sum.signed else -(2**40)
            wanted = np.mean((whole > w.sum.high) | (whole < low))
            assert cut[step.layer.name] == pytest.approx(wanted)
        assert max(cut.values()) > 0


def test_the_figures_of_the_layers_are_those_of_the_network(network):
    records = layer_data(network, integers.images(network.network, 10))
    assert [one["name"] for one in records] == ["conv1", "dense1"]
    for one in records:
        w = network.weighted[one["name"]]
        (layer,) = (x for x in network.walk() if x.name == one["name"])
        assert one["accumulator_bound"] == layer.accumulator_bound()
        # With its sign.
        assert 2 ** (one["accumulator_bits"] - 1) > one["accumulator_bound"]
        assert 2 ** (one["accumulator_bits"] - 2) <= one["accumulator_bound"]
        assert one["multipliers"] == [w.multiplier.min(), w.multiplier.max()]
        arrays = w.tensors().values()
        assert one["size_bytes"] == sum(array.nbytes for array in arrays)
        assert one["output"] == f"int8 * 2^{w.output.exponent}"
