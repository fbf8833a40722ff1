"""A judge gives each image the bits it always gets, in order, for any number of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.network import Conv, Dense, Flatten, Network
from train.judge import CHUNK, Classifier
from train.model import build

RNG = np.random.default_rng(0)
NETWORK = Network(
    input_shape=(6, 5, 1),
    layers=(
        Conv(features=3),
        Flatten(),
        Dense(features=7),
        Dense(features=4, activation="identity"),
    ),
)
CALL = 2 * CHUNK


@pytest.fixture(scope="module")
def model():
    return build(NETWORK, key=jax.random.key(0))


@pytest.fixture(scope="module")
def judge(model):
    return Classifier(model)


@pytest.mark.parametrize("count", [1, CALL - 1, CALL, 2 * CALL + 3])
def test_logits_are_those_of_the_network(judge, model, count: int) -> None:
    images = RNG.integers(0, 256, (count, 6, 5, 1), dtype=np.uint8)
    logits = judge(images)
    assert isinstance(logits, np.ndarray)
    assert logits.dtype == np.float32
    assert logits.shape == (count, 4)
    np.testing.assert_allclose(logits, np.asarray(model(images)), rtol=1e-4, atol=1e-5)
    assert count == 1 or len(np.unique(logits, axis=0)) > count // 2


def test_equal_images_get_equal_bits_wherever_they_stand(judge) -> None:
    images = RNG.integers(0, 256, (CALL + 37, 6, 5, 1), dtype=np.uint8)
    logits, order = judge(images), RNG.permutation(len(images))
    np.testing.assert_array_equal(judge(images[order]), logits[order])
    for one in (0, 5, CALL + 36):
        np.testing.assert_array_equal(judge(images[one][None])[0], logits[one])


def test_there_is_one_program(judge) -> None:
    judge(np.zeros((3, 6, 5, 1), np.uint8))
    judge(np.zeros((CALL + 1, 6, 5, 1), np.uint8))
    assert judge._compiled._cache_size() == 1


def test_no_images_are_no_logits(judge) -> None:
    assert judge(np.zeros((0, 6, 5, 1), np.uint8)).shape == (0, 4)


def test_the_first_class_wins_a_tie() -> None:
    tie = Classifier(lambda pixels: jnp.ones((len(pixels), 3), jnp.float32))
    assert tie.classes(np.zeros((2, 4), np.uint8)).tolist() == [0, 0]


def test_pixels_that_are_no_bytes_are_an_error(judge) -> None:
    with pytest.raises(TypeError, match="uint8"):
        judge(np.zeros((1, 6, 5, 1), np.float32))
