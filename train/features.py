"""What single neurons of a trained network look for.

Three ways to ask: the test patches that excite a neuron most, the input that gradient
ascent finds for it, and the edge filter that one would have set by hand.

References:
  Zeiler & Fergus, arXiv:1311.2901, section 4.1 (strongest patches).
  Simonyan, Vedaldi & Zisserman, arXiv:1312.6034, section 2 (ascent on the input).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs.network import Network
from configs.program import (
    Activate,
    Add,
    Concat,
    Input,
    Mul,
    Node,
    Pad,
    Pool,
    Product,
    Program,
    Reshape,
    Shape,
    Slice,
    State,
    entry,
)

Interval = tuple[int, int]
# Rows and columns of a map; None for all that there is.
Field = tuple[Interval, Interval] | None

# Bright right of dark, and bright below dark: what a lecturer sets by hand.
EDGE_FILTERS = {
    "vertical edge": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32),
    "horizontal edge": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32),
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A neuron, or a channel of neurons that share their weights."""

    layer: str
    channel: int


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Strongest activation of every channel of one layer in every image."""

    # (N, F) activations, and the index p * Q + q of their place (0 in a vector).
    value: np.ndarray
    place: np.ndarray
    # (F,) variance over images and places.
    variance: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """How an input is searched: ascent on a / a_test - smooth * TV - calm * L2.

    TV is the sum of absolute differences of neighbouring pixels, L2 that of squared
    distances from `rest`, both with 255 as unit and divided by the geometric mean of the
    pixels of the image and those that the neuron sees: divided by the former, small
    fields stay noise, by the latter they fade away.
    """

    # Noise images tried, grains of 1, 2 and 4 pixels in turn; the ascent starts at the
    # one that excites the neuron most.
    starts: int = 128
    # Updates, and the largest change of a pixel in the first one, gray levels.
    steps: int = 300
    rate: float = 25.0
    # Weights of the two penalties.
    smooth: float = 2.0
    calm: float = 1.0
    # Gray level that the image returns to where nothing pulls.
    rest: float = 0.0
    # Output neurons see the image shifted at random by up to this much, pixels.
    jitter_px: int = 2


def receptive_field(
    network: Network, layer: str, place: Sequence[int]
) -> tuple[slice, slice]:
    """Rows and columns of the input on which the unit of `layer` at `place` depends.

    Going back through a layer of kernel k, stride s and padding a before the data, the
    units [lo, hi) see [lo*s - a, (hi - 1)*s - a + k), cut to the data. A window that
    touches mean padding sees everything. With strides above the kernel it is the
    smallest rectangle around the pixels. A neuron of a vector sees what all units of
    the last image see.
    """
    program = network.program
    place = tuple(place) if len(program.by_name[layer].shape) == 3 else ()
    seen = _seen(program, layer, tuple((i, i + 1) for i in place) or None)
    height, width = network.input_shape[:2]
    rows, columns = seen or ((0, height), (0, width))
    return slice(*rows), slice(*columns)


def _seen(program: Program, name: str, field: Field) -> Field:
    """What of the input a part of a value depends on; nothing is an empty rectangle."""
    node = program.by_name[name]
    if isinstance(node, Input):
        return field
    if field is None and len(node.shape) == 3:
        field = tuple((0, n) for n in node.shape[:2])
    rule = entry(_BEFORE, node, "train.features")
    found = []
    for number, before in enumerate(node.inputs):
        shape = program.by_name[before].shape
        found.append(_seen(program, before, rule(node, number, shape, field)))
    return _hull(found)


def _hull(fields: Sequence[Field]) -> Field:
    """The smallest rectangle around several."""
    if any(field is None for field in fields):
        return None
    some = [f for f in fields if f != _NOWHERE]
    if not some:
        return _NOWHERE
    axes = zip(*some, strict=True)
    rows, columns = ((min(a for a, _ in i), max(b for _, b in i)) for i in axes)
    return rows, columns


_NOWHERE: Field = ((0, 0), (0, 0))


def _cut(field: list[Interval], shape: Shape) -> Field:
    rows, columns = (
        (max(lo, 0), min(hi, n)) for (lo, hi), n in zip(field, shape[:2], strict=True)
    )
    return rows, columns


def _before_pad(node: Pad, number: int, shape: Shape, field: Field) -> Field:
    moved = [
        (lo - before, hi - before)
        for (lo, hi), (before, _) in zip(field, node.pads, strict=True)
    ]
    inside = _cut(moved, shape)
    if node.kind == "mean" and inside != tuple(moved):
        return (0, shape[0]), (0, shape[1])
    # Beyond an edge stands the nearest value.
    rows, columns = (
        (min(lo, n - 1), max(hi, 1)) for (lo, hi), n in zip(inside, shape[:2], strict=True)
    )
    return rows, columns


def _before_window(
    window: Sequence[int], stride: Sequence[int], pads: Sequence[Interval], field: Field
) -> list[Interval]:
    return [
        (lo * s - before, (hi - 1) * s - before + k)
        for (lo, hi), k, s, (before, _) in zip(field, window, stride, pads, strict=True)
    ]


def _before_product(node: Product, number: int, shape: Shape, field: Field) -> Field:
    if node.kernel is None:
        return None
    extent = [(k - 1) * d + 1 for k, d in zip(node.kernel, node.dilation, strict=True)]
    return _cut(_before_window(extent, node.stride, ((0, 0), (0, 0)), field), shape)


def _before_pool(node: Pool, number: int, shape: Shape, field: Field) -> Field:
    return _cut(_before_window(node.window, node.stride, node.pads, field), shape)


def _same(node: Node, number: int, shape: Shape, field: Field) -> Field:
    return field if len(shape) == len(node.shape) == 3 else None


# What of an input (its number among the node's, its shape) a field of the value needs.
_BEFORE: dict[type[Node], Callable[[Any, int, Shape, Field], Field]] = {
    State: lambda node, number, shape, field: _NOWHERE,
    Pad: _before_pad,
    Product: _before_product,
    Pool: _before_pool,
    Activate: _same,
    Add: _same,
    Mul: _same,
    Concat: _same,
    Reshape: lambda node, number, shape, field: None,
    Slice: lambda node, number, shape, field: None,
}


def rectified_correlation(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """max(0, sum_rsc kernel[r, s, c] * image[p+r, q+s, c]): (H, W, C) -> (P, Q)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape[:2], axis=(0, 1))
    return np.maximum(np.einsum("pqcrs,rsc->pq", windows, kernel), 0)


def peaks(model, images: np.ndarray, *, chunk: int = 100) -> dict[str, Peaks]:
    """Peaks of every layer over `images` (N, ...), computed `chunk` images at a time.

    Networks with large maps take fewer at a time: about 200 MB of activations.
    """
    chunk = max(1, min(chunk, len(images), 50_000_000 // model.network.activations))

    @jax.jit
    def measure(pixels):
        found = {}
        for name, y in model.outputs(pixels).items():
            y = y.reshape(y.shape[0], -1, y.shape[-1])
            moments = jnp.mean(y, axis=1), jnp.mean(jnp.square(y), axis=1)
            found[name] = jnp.max(y, axis=1), jnp.argmax(y, axis=1), *moments
        return found

    parts = []
    for start in range(0, len(images), chunk):
        # The last piece reaches back to have the same shape: nothing compiles twice.
        first = min(start, len(images) - chunk)
        part = jax.tree.map(np.asarray, measure(images[first : first + chunk]))
        parts.append(jax.tree.map(lambda a, skip=start - first: a[skip:], part))
    joined = jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
    return {
        name: Peaks(
            value=value,
            place=place,
            variance=np.mean(square, 0, np.float64) - np.mean(mean, 0, np.float64) ** 2,
        )
        for name, (value, place, mean, square) in joined.items()
    }


def liveliest(layer: str, found: Peaks, count: int) -> list[Unit]:
    """The `count` channels with the largest variance, in the order of their numbers."""
    channels = np.argsort(-found.variance, kind="stable")[:count]
    return [Unit(layer=layer, channel=int(channel)) for channel in sorted(channels)]


def strongest_patches(
    network: Network, unit: Unit, found: Peaks, images: np.ndarray, count: int
) -> list[tuple[np.ndarray, float]]:
    """The patches that excite `unit` most, at most one per image, with its activation.

    A patch is what the neuron at that place can see, and no pixel more.
    """
    shape = network.program.by_name[unit.layer].shape
    values = found.value[:, unit.channel]
    patches = []
    for index in np.argsort(-values, kind="stable")[:count]:
        place = np.unravel_index(found.place[index, unit.channel], shape[:-1] or (1,))
        field = receptive_field(network, unit.layer, [int(i) for i in place])
        patches.append((images[index][field], float(values[index])))
    return patches


def maximise(
    model, units: Sequence[Unit], scales: np.ndarray, ascent: Ascent, *, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """For each unit an image that excites it, found by gradient ascent on the pixels.

    A channel of a convolution is excited at the centre of its map. Every step moves the
    pixel with the steepest slope by the rate, the others in proportion; the rate falls
    linearly to 0, and the last quarter of the steps does without jitter.

    Args:
      scales: (U,) activation that counts as 1, such as the largest of any test image.

    Returns:
      Images (U, *input_shape) uint8 and the activation (U,) that each reaches.
    """
    start_key, shift_key = jax.random.split(key)
    read = jax.jit(_reader(model, units))
    x = _best_noise(read, (len(units), *model.network.input_shape), ascent, start_key)
    step = jax.jit(_step(model, units, scales, ascent))
    reach = ascent.jitter_px
    shifts = np.array(jax.random.randint(shift_key, (ascent.steps, 2), -reach, reach + 1))
    shifts[ascent.steps * 3 // 4 :] = 0
    # A shifted image would blur what a convolution sees at one place.
    moves = np.array([len(centre(model.network, unit)) == 1 for unit in units])
    # A Python loop: inside scan XLA's own convolution is slow on CPU.
    for number, shift in enumerate(shifts):
        x[moves] = np.roll(x[moves], shift, axis=(1, 2))
        x = np.array(step(x, np.float32(ascent.rate * (1 - number / ascent.steps))))
        x[moves] = np.roll(x[moves], -shift, axis=(1, 2))
    images = np.rint(x)
    return images.astype(np.uint8), np.asarray(read(images))


def centre(network: Network, unit: Unit) -> tuple[int, ...]:
    """Index of `unit` in the output of its layer, in the middle of the map."""
    shape = network.program.by_name[unit.layer].shape
    return (*(n // 2 for n in shape[:-1]), unit.channel)


def _reader(model, units: Sequence[Unit]):
    """Function of U images: the activation of unit i in image i."""
    members = {unit.layer: [] for unit in units}
    for i, unit in enumerate(units):
        members[unit.layer].append((i, *centre(model.network, unit)))
    order = np.argsort([index[0] for indices in members.values() for index in indices])

    def read(x):
        outputs = model.outputs(x)
        picked = [
            outputs[layer][tuple(np.transpose(indices))]
            for layer, indices in members.items()
        ]
        return jnp.concatenate(picked)[order]

    return read


def _best_noise(read, shape: tuple[int, ...], ascent: Ascent, key: jax.Array) -> np.ndarray:
    """For each unit the noise that excites it most: a silent ReLU has no slope to climb."""
    noise = np.array(jax.random.uniform(key, (ascent.starts, *shape), maxval=255.0))
    rows, columns = (np.arange(n) for n in shape[1:3])
    for number in range(ascent.starts):
        grain_px = 2 ** (number % 3)
        noise[number] = noise[number][:, rows // grain_px][:, :, columns // grain_px]
    reached = np.stack([read(images) for images in noise])
    return noise[reached.argmax(axis=0), np.arange(shape[0])]


def _step(model, units: Sequence[Unit], scales: np.ndarray, ascent: Ascent):
    """Function of U images and a rate: the images after one update."""
    read = _reader(model, units)
    scales = jnp.asarray(np.where(scales > 0, scales, 1), jnp.float32)
    pixels = jnp.array([_reference_pixels(model.network, unit) for unit in units])

    def objective(x):
        rough = ascent.smooth * _total_variation(x / 255.0)
        far = ascent.calm * jnp.sum(jnp.square((x - ascent.rest) / 255.0), axis=(1, 2, 3))
        return jnp.sum(read(x) / scales - (rough + far) / pixels)

    def step(x, rate):
        slope = jax.grad(objective)(x)
        steepest = jnp.max(jnp.abs(slope), axis=(1, 2, 3), keepdims=True)
        return jnp.clip(x + rate * slope / jnp.maximum(steepest, 1e-12), 0.0, 255.0)

    return step


def _reference_pixels(network: Network, unit: Unit) -> float:
    fields = receptive_field(network, unit.layer, centre(network, unit)[:-1])
    seen = math.prod(field.stop - field.start for field in fields)
    return math.sqrt(seen * math.prod(network.input_shape[:2]))


def _total_variation(x: jax.Array) -> jax.Array:
    """Sum of absolute differences of neighbouring pixels, (B, H, W, C) -> (B,)."""
    down = jnp.abs(x[:, 1:] - x[:, :-1])
    right = jnp.abs(x[:, :, 1:] - x[:, :, :-1])
    return jnp.sum(down, axis=(1, 2, 3)) + jnp.sum(right, axis=(1, 2, 3))
