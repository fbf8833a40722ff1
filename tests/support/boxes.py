"""Small random networks, and the worst that can be found in a box of pixels."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from configs.network import Conv, Dense, Flatten, GlobalPool, Network, Pool
from train import bounds
from train.bounds import Interval
from train.model import Model, build

CLASSES = 4
_LOGITS = Dense(features=CLASSES, activation="identity")
# Every kind of layer; of those whose names begin with "mixed" the linear bound does not
# reach the pixels, and those in LINEAR have no activation at all.
NETWORKS = {
    "dense": (Flatten(), Dense(features=9), Dense(features=7), _LOGITS),
    "strided": (
        Conv(features=3, stride=(2, 1)),
        Conv(features=4, kernel=(2, 3), stride=(1, 2)),
        Flatten(),
        _LOGITS,
    ),
    "padded": (
        Conv(features=3, kernel=(3, 2), padding="edge"),
        Conv(features=2, padding="zero", stride=(2, 2), activation="identity"),
        Conv(features=3, kernel=(2, 2), padding="mean"),
        Flatten(),
        _LOGITS,
    ),
    "pooled": (
        Conv(features=3, kernel=(2, 2)),
        Pool(kind="mean", window=(2, 2), stride=(1, 2)),
        Conv(features=5, kernel=(2, 2)),
        GlobalPool(kind="mean"),
        _LOGITS,
    ),
    "relu-logits": (Flatten(), Dense(features=6), Dense(features=CLASSES)),
    "mixed-max": (
        Conv(features=3, kernel=(2, 2)),
        Pool(kind="max", window=(2, 2), stride=(2, 1)),
        Flatten(),
        Dense(features=6),
        _LOGITS,
    ),
    "mixed-tanh": (
        Conv(features=3, activation="tanh"),
        GlobalPool(kind="max"),
        Dense(features=6, activation="softplus"),
        Dense(features=6),
        Dense(features=CLASSES, activation="identity"),
    ),
    "mixed-sigmoid": (Flatten(), Dense(features=CLASSES, activation="sigmoid")),
}
LINEAR = {
    "one": (Flatten(), _LOGITS),
    "deep": (
        Conv(features=3, padding="edge", stride=(2, 1), activation="identity"),
        Pool(kind="mean"),
        Conv(features=3, kernel=(2, 2), padding="mean", activation="identity"),
        Flatten(),
        Dense(features=5, activation="identity"),
        _LOGITS,
    ),
}


def network(layers, shape=(5, 6, 2)) -> Network:
    return Network(input_shape=shape, layers=layers)


@cache
def model(layers, *, seed: int = 0, shape=(5, 6, 2)) -> Model:
    """A float model whose biases are not 0; no test changes it."""
    made = build(network(layers, shape), key=jax.random.key(seed))
    draw = np.random.default_rng(seed)
    for layer in made.layers.values():
        layer.bias[...] = jnp.asarray(0.3 * draw.normal(size=layer.bias.shape), jnp.float32)
    return made


def images(count: int, *, seed: int = 1, shape=(5, 6, 2)) -> tuple[jax.Array, jax.Array]:
    """Images uint8 (B, *shape), some of their pixels at an end of the range, and labels."""
    draw = np.random.default_rng(seed)
    pixels = np.clip(draw.integers(-60, 316, (count, *shape)), 0, 255).astype(np.uint8)
    labels = draw.integers(0, CLASSES, count).astype(np.int32)
    return jnp.asarray(pixels), jnp.asarray(labels)


def points(box: Interval, count: int, *, seed: int = 2) -> jax.Array:
    """Points of the box (count, B, *shape): uniform ones, and as many of its corners."""
    draw = np.random.default_rng(seed)
    low, high = np.asarray(box.low), np.asarray(box.high)
    share = draw.uniform(size=(count, *low.shape)).astype(np.float32)
    share[count // 2 :] = np.round(share[count // 2 :])
    return jnp.clip(jnp.asarray(low + share * (high - low)), box.low[None], box.high[None])


def margins(model: Model, pixels: jax.Array, labels: jax.Array) -> jax.Array:
    """logit[label] - logit[f] of pixels (..., B, *shape): (..., B, F)."""
    flat = pixels.reshape(-1, *pixels.shape[-3:])
    logits = model(flat).reshape(*pixels.shape[:-3], -1)
    own = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    own = own.reshape((1,) * (logits.ndim - 2) + own.shape)
    return jnp.sum(logits * own, -1, keepdims=True) - logits


def lowest(model: Model, box: Interval, labels: jax.Array) -> jax.Array:
    """The smallest margins (B, F) found at points and corners and by gradients."""
    return _lowest(model)(points(box, 500), box, labels)


@cache
def _lowest(model: Model) -> Callable:
    classes = jnp.arange(model.network.output_shape[-1])

    def each(x, labels):
        """Margin f of the f-th copy of the images: (F, B)."""
        return jnp.stack([margins(model, x[f], labels)[:, f] for f in classes.tolist()])

    def search(points, box, labels):
        size = (box.high - box.low)[None] / 8
        slope = jax.grad(lambda x: each(x, labels).sum())

        def step(x, _):
            x = jnp.clip(x - size * jnp.sign(slope(x)), box.low[None], box.high[None])
            return x, each(x, labels)

        first = jnp.stack([(box.low + box.high) / 2] * len(classes))
        _, climbed = jax.lax.scan(step, first, None, 40)
        tried = margins(model, points, labels).min(0)
        return jnp.minimum(tried, climbed.min(0).T)

    return jax.jit(search)


def box(pixels: jax.Array, levels: float) -> Interval:
    return bounds.pixels_within(pixels, levels)


def below(bound, found) -> bool:
    """Whether no bound is above what was found, up to rounding."""
    bound, found = np.asarray(bound), np.asarray(found)
    return bool((bound <= found + 1e-5 * (1 + np.abs(found))).all())


def check_slope(loss, params) -> None:
    """The derivative along a random direction against a central difference."""
    draw = np.random.default_rng(0)
    way = jax.tree.map(
        lambda p: jnp.asarray(draw.normal(size=p.shape), jnp.float32), params
    )
    grads = jax.jit(jax.grad(loss))(params)
    slope = sum(
        jnp.vdot(*pair) for pair in zip(*map(jax.tree.leaves, (grads, way)), strict=True)
    )
    moved = lambda h: jax.tree.map(lambda p, w: p + h * w, params, way)
    step = 2e-4
    numeric = (loss(moved(step)) - loss(moved(-step))) / (2 * step)
    np.testing.assert_allclose(slope, numeric, rtol=0.04, atol=0.05)
