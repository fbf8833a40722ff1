"""Predictions in chunks equal the model applied directly; scores equal their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from configs.network import Conv, Dense, Flatten, Network
from train import evaluate
from train.mesh import AXIS, place
from train.model import build, split

RNG = np.random.default_rng(0)
NETWORK = Network(
    input_shape=(4, 3, 1),
    layers=(Conv(features=2, padding="zero"), Flatten(), Dense(features=3)),
)
# Images of one call on one device.
CALL = evaluate._CHUNK * evaluate._CHUNKS


@pytest.fixture(scope="module")
def net():
    """Kernels are small whole numbers: every order of summation gives the same bits."""
    net = build(NETWORK, key=jax.random.key(0))
    for layer in net.layers.values():
        whole = RNG.integers(-3, 4, layer.kernel.shape)
        layer.kernel[...] = jnp.asarray(whole, jnp.float32)
        layer.bias[...] = jnp.arange(layer.bias.size, dtype=jnp.float32)
    return net


@pytest.fixture(scope="module")
def examples(net):
    """Images, and what the model makes of all of them at once."""
    images = RNG.integers(0, 256, (2 * CALL + 3, 4, 3, 1), dtype=np.uint8)
    return images, np.asarray(net(images))


@pytest.fixture(scope="module", params=[1, 2], ids=["one device", "two devices"])
def predictor(net, request):
    assert len(jax.devices()) == 2
    mesh = Mesh(np.array(jax.devices()[: request.param]), (AXIS,))
    graph, params = split(net)
    params = place(params, mesh)
    predict = evaluate.make_predict(graph, mesh)
    return lambda images: predict(params, images)


@pytest.mark.parametrize("count", [1, 65, CALL - 1, CALL, CALL + 1, 2 * CALL + 3])
def test_predictions_equal_the_model_applied_directly(
    examples, predictor, count: int
) -> None:
    """Bit for bit and in order, whether or not the images fill the chunks."""
    images, expected = examples
    outputs = predictor(images[:count])
    assert isinstance(outputs, np.ndarray)
    assert outputs.dtype == np.float32
    assert outputs.shape == (count, 3)
    np.testing.assert_array_equal(outputs, expected[:count])
    assert count == 1 or len(np.unique(outputs, axis=0)) > count // 2


def test_two_devices_share_the_images() -> None:
    """Each gets half of a call."""
    mesh = Mesh(np.array(jax.devices()), (AXIS,))
    images = RNG.integers(0, 256, (6, 4, 3, 1), dtype=np.uint8)
    shares = evaluate._sharded(images, mesh).addressable_shards
    assert [shard.device for shard in shares] == jax.devices()
    for shard, part in zip(shares, (images[:3], images[3:]), strict=True):
        np.testing.assert_array_equal(shard.data, part)


def test_scores_of_classification_equal_a_loop() -> None:
    """Mean of -log softmax at the label, and how often the largest output is there."""
    outputs = RNG.normal(size=(50, 4)).astype(np.float32)
    labels = RNG.integers(0, 4, 50)
    losses, correct = [], 0
    for z, label in zip(outputs.astype(np.float64), labels, strict=True):
        losses.append(-np.log(np.exp(z[label]) / np.sum(np.exp(z))))
        correct += all(z[label] >= other for other in z)
    got = evaluate.scores(outputs, labels, "classification")
    assert set(got) == {"loss", "accuracy"}
    assert got["accuracy"] == correct / 50
    assert 0 < correct < 50
    np.testing.assert_allclose(got["loss"], np.mean(losses), rtol=1e-6)


def test_scores_of_regression_equal_a_loop() -> None:
    """Mean of squared errors over examples and outputs, summed in float64."""
    outputs = RNG.normal(size=(20, 2)).astype(np.float32)
    labels = RNG.normal(size=(20, 2)).astype(np.float32)
    pairs = zip(outputs.ravel(), labels.ravel(), strict=True)
    expected = sum((float(y) - float(t)) ** 2 for y, t in pairs) / 40
    got = evaluate.scores(outputs, labels, "regression")
    assert set(got) == {"mse"}
    np.testing.assert_allclose(got["mse"], expected, rtol=1e-12)


def test_the_loss_of_huge_logits_is_finite() -> None:
    """exp(1e4) and exp(-1e30) are out of range; their loss is not."""
    outputs = np.array([[1e4, 0, -1e4], [-1e30, -1e30, -1e30]], np.float32)
    labels = np.array([1, 2])
    loss = evaluate.scores(outputs, labels, "classification")["loss"]
    np.testing.assert_allclose(loss, (1e4 + np.log(3)) / 2, rtol=1e-6)


def test_a_tie_counts_for_the_first_class_only() -> None:
    outputs = np.ones((2, 3), np.float32)
    assert evaluate.scores(outputs, np.array([0, 1]), "classification")["accuracy"] == 0.5


def test_scores_are_plain_numbers() -> None:
    """They go into JSON."""
    outputs = np.ones((2, 3), np.float32)
    both = {
        **evaluate.scores(outputs, np.array([0, 1]), "classification"),
        **evaluate.scores(outputs, outputs, "regression"),
    }
    assert {type(value) for value in both.values()} == {float}
