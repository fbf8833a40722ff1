"""The proof: what it counts, and that a runtime that rounds otherwise does not pass."""

import dataclasses

import integers
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
import quantised
from onnx import numpy_helper

from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from quant import equivalence, execute, fast, normative
from quant.equivalence import Runtime
from quant.exports import onnx_qdq, stablehlo
from quant.network import IntNetwork


def network_with_ties(*layers) -> IntNetwork:
    """Small weights and outputs of sum / 16, so that many sums lie halfway."""
    network = integers.filled(Network(input_shape=(6, 6, 1), layers=layers))
    weighted = {
        name: dataclasses.replace(
            w,
            weights=np.clip(w.weights, -2, 2),
            bias=np.zeros_like(w.bias),
            multiplier=np.full_like(w.multiplier, 1 << 12),
        )
        for name, w in network.weighted.items()
    }
    return dataclasses.replace(network, weighted=weighted)


def convolutions():
    return network_with_ties(
        Conv(features=2), Conv(features=2, activation="identity"), Flatten()
    )


def means():
    return network_with_ties(
        Conv(features=2), Pool(kind="mean"), Flatten(), Dense(features=3)
    )


def half_up(numerator, denominator):
    """Halves to the larger integer, in int32 or int64."""
    return (2 * numerator + denominator) // (2 * denominator)


def faulty_first(network, images, patched):
    """By the normative text with another rule: the sentence the proof must give."""
    right = list(normative.steps(network, images))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normative, *patched)
        wrong = list(normative.steps(network, images))
    logits = np.argwhere(right[-1].output != wrong[-1].output)
    image = int(logits[0][0])
    for one, other in zip(right, wrong, strict=True):
        places = np.argwhere(one.output[image] != other.output[image])
        if len(places):
            at = tuple(int(i) for i in places[0])
            break
    place = ", ".join(map(str, at))
    values = other.output[image][at], one.output[image][at]
    name = one.layer.name
    return (
        f"image {image}: `{name}` at ({place}) is {values[0]}, not {values[1]}",
        len(logits),
        name,
    )


def jax_runtime(network) -> Runtime:
    return next(equivalence.runtimes(network, {}))


def test_a_verdict_says_what_was_compared():
    network = quantised.small()
    images = integers.images(network.network, 5)
    verdicts, logits = equivalence.prove(
        network, {"onnx": onnx_qdq.encode(network)}, images
    )
    assert [v.runtime for v in verdicts] == ["numpy", "jax", "onnxruntime"]
    for verdict in verdicts:
        assert (verdict.images, verdict.logits, verdict.mismatches) == (5, 15, 0)
        assert (verdict.first, verdict.wall_s >= 0) == ("", True)
        assert verdict.data().keys() == {"images", "logits", "mismatches", "wall_s"}
    assert np.array_equal(logits, normative.run(network, images))
    assert logits.dtype == np.int8


def test_every_runtime_is_announced():
    said = []
    network = quantised.small()
    equivalence.prove(network, {}, integers.images(network.network, 1), say=said.append)
    assert [text.rpartition(" ")[2] for text in said] == ["numpy", "jax"]


@pytest.mark.parametrize(("made", "where"), [(convolutions, "conv1"), (means, "pool1")])
def test_jax_with_halves_rounded_up_is_caught_and_located(made, where, monkeypatch):
    """Requantisation and means: count, image, layer, place and both values."""
    network = made()
    images = integers.images(network.network, 40)
    expected, _ = equivalence.judge(network, images)
    assert (
        equivalence.compare(network, jax_runtime(network), images, expected).mismatches == 0
    )
    sentence, count, layer = faulty_first(network, images, ("divide_rne", half_up))
    monkeypatch.setattr(execute, "divide_rne", half_up)
    # x + 1/2 rounded down, from the same product.
    monkeypatch.setattr(fast.jnp, "round", lambda x: jnp.floor(x + jnp.float32(0.5)))
    verdict = equivalence.compare(network, jax_runtime(network), images, expected)
    assert verdict.mismatches == count > 0
    assert verdict.first == sentence
    assert verdict.data()["first_mismatch"] == sentence
    assert layer == where


def test_a_mean_rounded_up_is_located_at_the_pooling(monkeypatch):
    network = means()
    images = integers.images(network.network, 40)
    expected, _ = equivalence.judge(network, images)
    monkeypatch.setattr(execute, "divide_rne", half_up)
    verdict = equivalence.compare(network, jax_runtime(network), images, expected)
    assert verdict.mismatches
    assert "`pool1` at (" in verdict.first


def test_a_program_that_was_exported_with_another_rounding_is_caught(monkeypatch):
    """The file's own fault, hashes right: found by executing it."""
    network = means()
    images = integers.images(network.network, 40)
    with monkeypatch.context() as patch:
        patch.setattr(execute, "divide_rne", half_up)
        content = stablehlo.encode(network)
    verdicts, _ = equivalence.prove(network, {"stablehlo": content}, images)
    found = {v.runtime: v for v in verdicts}
    assert found["numpy"].mismatches == found["jax"].mismatches == 0
    assert found["stablehlo"].mismatches
    assert "`pool1` at (" in found["stablehlo"].first


@pytest.mark.parametrize("layer", ["conv1", "dense1"])
def test_a_changed_weight_in_an_onnx_file_is_located(layer):
    network = quantised.small()
    images = integers.images(network.network, 20)
    model = onnx.ModelProto.FromString(onnx_qdq.encode(network))
    (tensor,) = (t for t in model.graph.initializer if t.name == f"{layer}.weights")
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = -values.flat[0] or 127
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    content = model.SerializeToString(deterministic=True)
    verdicts, expected = equivalence.prove(network, {"onnx": content}, images)
    found = {v.runtime: v for v in verdicts}
    assert found["numpy"].mismatches == found["jax"].mismatches == 0
    runs = onnx_qdq.open_session(content)(images)
    assert found["onnxruntime"].mismatches == int(np.sum(runs != expected)) > 0
    image = int(np.argwhere(runs != expected)[0][0])
    assert found["onnxruntime"].first.startswith(f"image {image}: `{layer}` at (")
    # Feature 0 is the one whose weight was changed.
    assert ", 0) is " in found["onnxruntime"].first.replace("at (0)", "at (, 0)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.astype(np.int16), "it gives int16[4, 3], not int8[4, 3]"),
        (lambda y: y[:, :2], "it gives int8[4, 2], not int8[4, 3]"),
        (lambda y: y[:-1], "it gives int8[3, 3], not int8[4, 3]"),
    ],
)
def test_outputs_of_another_shape_or_type_all_count_as_wrong(change, message):
    network = quantised.small()
    images = integers.images(network.network, 4)
    right = normative.run(network, images)
    odd = Runtime(name="odd", run=lambda x: change(right), layers=lambda x: {})
    verdict = equivalence.compare(network, odd, images, right)
    assert (verdict.mismatches, verdict.logits, verdict.first) == (12, 12, message)


def test_a_single_wrong_logit_is_counted_once():
    """And a runtime whose layers are right when the image runs alone is told apart."""
    network = quantised.small()
    images = integers.images(network.network, 9)
    right = normative.run(network, images)
    wrong = right.copy()
    wrong[7, 1] ^= 1
    layers = lambda x: {s.layer.name: s.output for s in normative.steps(network, x)}
    odd = Runtime(name="odd", run=lambda x: wrong, layers=layers)
    verdict = equivalence.compare(network, odd, images, right)
    assert verdict.mismatches == 1
    assert verdict.first == "image 7: no layer differs when this image runs alone"


def test_the_judge_checks_its_own_products(monkeypatch):
    network = quantised.small()
    images = integers.images(network.network, 3)
    right, verdict = equivalence.judge(network, images)
    assert (verdict.runtime, verdict.mismatches) == ("numpy", 0)
    # The float64 products are all that can be wrong: those in integers are the text.
    real = normative.matmul
    monkeypatch.setattr(normative, "matmul", lambda x, w: real(x, w) + 4000)
    logits, verdict = equivalence.judge(network, images)
    assert verdict.mismatches > 0
    assert verdict.first == "float64 products differ from those in 64-bit integers"
    assert np.array_equal(logits, right)


def test_a_difference_of_two_tensors_is_one_sentence():
    ours = np.zeros((1, 2, 3), np.uint8)
    theirs = ours.copy()
    assert equivalence.difference("conv1", theirs, ours) == ""
    theirs[0, 1, 2] = 7
    assert equivalence.difference("conv1", theirs, ours) == "`conv1` at (1, 2) is 7, not 0"
    wider = theirs.astype(np.int8)
    sentence = "`conv1` is int8[1, 2, 3], not uint8[1, 2, 3]"
    assert equivalence.difference("conv1", wider, ours) == sentence


def test_a_network_without_weights_in_its_last_layer_is_proved_too():
    """Poolings at the end, odd numbers of images, and none."""
    network = integers.filled(
        Network(input_shape=(6, 6, 1), layers=(Conv(features=3), GlobalPool(kind="mean")))
    )
    for count in (0, 1, 3):
        verdicts, _ = equivalence.prove(
            network, {}, integers.images(network.network, count)
        )
        assert [(v.logits, v.mismatches) for v in verdicts] == [(3 * count, 0)] * 2
