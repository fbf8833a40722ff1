"""The integer network in JAX, arranged for speed; the same integers as `normative.py`.

On a CPU the fast multipliers are those for floats, so integers travel as floats that hold
them exactly: 8-bit values in bfloat16 (up to 256), sums in float32 (up to 2^24, which the
weights of a layer prove; a layer that cannot prove it sums in int32). What else is fast:

- arrays are (C, H, W, B): copies, sums and maxima run along rows of B images;
- a few images at a time, so that everything stays in the second-level cache;
- max pooling before requantisation, since a positive multiplier keeps the order;
- a convolution with its pooling is one matrix product: each of the positions in a window
  is a block of features of a larger kernel that strides by the window;
- a depthwise convolution copies nothing: its taps are scaled views that are added.

Other devices run `execute.py`, whose int8 products they are made for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import shard_map
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Integer, Num, UInt8

from configs.program import (
    Activate,
    Add,
    Concat,
    Mul,
    Node,
    Pad,
    Pair,
    Pool,
    Product,
    Reshape,
    Slice,
    entry,
)
from quant import execute
from quant.execute import Wide
from quant.network import IntNetwork, IntStep
from train.conv_impl import on_cpu, shifted
from train.mesh import AXIS, all_devices

# float32 holds every integer up to here.
_FLOAT32_INTEGERS = 2**24
# Bytes of the largest array of one chunk of images: what a second-level cache keeps.
_CHUNK_BYTES = 4 << 20
_LARGEST_CHUNK = 128
# Chunks per device and call.
_CHUNKS = 16
# How many times more products a fused pooling may cost than it saves copies.
_FUSED_PRODUCTS = 2.5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step, or a convolution together with the max pooling that follows it."""

    layer: IntStep
    pool: IntStep | None = None

    @property
    def name(self) -> str:
        return (self.pool or self.layer).name

    @property
    def pooling(self) -> Pool | None:
        return self.pool and self.pool.step.find(Pool)


def compile(network: IntNetwork) -> Callable[[np.ndarray], np.ndarray]:
    """run(images uint8 (n, *shape)) -> outputs (n, F), over all devices; any n."""
    mesh = all_devices()
    chunk = chunk_size(network)

    def share(images):
        chunks = images.reshape(-1, chunk, *images.shape[1:])
        outputs = jax.lax.map(partial(outputs_of, network), chunks)
        return outputs.reshape(len(images), *outputs.shape[2:])

    compiled = jax.jit(
        shard_map(share, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False)
    )
    sharding = jax.sharding.NamedSharding(mesh, P(AXIS))

    def run(images: UInt8[np.ndarray, "n ..."]) -> Integer[np.ndarray, "n ..."]:
        shape = network.network.output_shape
        outputs = [np.empty((0, *shape), network.output.dtype)]
        unit = mesh.size * chunk
        size = unit * min(_CHUNKS, max(1, math.ceil(len(images) / unit)))
        for first in range(0, len(images), size):
            part = images[first : first + size]
            missing = ((0, size - len(part)), *((0, 0),) * (part.ndim - 1))
            placed = jax.device_put(np.pad(part, missing), sharding)
            outputs.append(np.asarray(compiled(placed))[: len(part)])
        return np.concatenate(outputs)

    return run


def layers(
    network: IntNetwork, images: UInt8[np.ndarray, "b ..."]
) -> dict[str, np.ndarray]:
    """Every layer's output, each as this path computes it."""
    if not on_cpu():
        run = jax.jit(lambda x: execute.run(network, x).outputs)
        return jax.tree.map(np.asarray, run(images))
    return jax.tree.map(np.asarray, jax.jit(partial(_each_layer, network))(images))


def outputs_of(
    network: IntNetwork, images: UInt8[Array, "b ..."]
) -> Integer[Array, "b ..."]:
    """Outputs for one chunk of images, inside `jit`."""
    if not on_cpu():
        return execute.run(network, images).outputs[network.program.output.name]
    values = _starts(network, images)
    for stage in stages(network):
        xs = [values[name] for name in stage.layer.step.inputs]
        values[stage.name] = apply(stage, *xs)
    return batch_first(values[network.program.output.name], network.output.dtype)


def _starts(network: IntNetwork, images: jax.Array) -> dict[str, jax.Array]:
    return {name: batch_last(x) for name, x in execute.starts(network, images).items()}


def _each_layer(network: IntNetwork, images: jax.Array) -> dict[str, jax.Array]:
    values, outputs = _starts(network, images), {}
    for stage in stages(network):
        xs = [values[name] for name in stage.layer.step.inputs]
        if stage.pool:
            alone = apply(Stage(layer=stage.layer), *xs)
            outputs[stage.layer.name] = batch_first(alone, stage.layer.output.dtype)
        x = values[stage.name] = apply(stage, *xs)
        outputs[stage.name] = batch_first(x, stage.layer.output.dtype)
    return outputs


def chunk_size(network: IntNetwork) -> int:
    """Images at a time: a power of two."""
    largest = max(_bytes_per_image(stage) for stage in stages(network))
    fitting = max(1, _CHUNK_BYTES // largest)
    return min(_LARGEST_CHUNK, 1 << (fitting.bit_length() - 1))


def _bytes_per_image(stage: Stage) -> int:
    layer, node = stage.layer, stage.layer.product
    output = math.prod(layer.shape)
    if node is None or node.kernel is None:
        return 4 * max(output, *(math.prod(shape) for shape in layer.input_shapes))
    patches = 0 if node.depthwise else 2 * node.positions * node.K * node.groups
    return max(patches, 4 * output)


def stages(network: IntNetwork) -> Iterator[Stage]:
    """The steps in order, poolings joined to convolutions where that is exact and pays."""
    steps = {step.name: step for step in network.walk()}
    readers = network.program.readers
    joined = set()
    for step in steps.values():
        if step.name in joined:
            continue
        pool = None
        if len(readers[step.name]) == 1:
            after = steps.get(readers[step.name][0].name)
            pool = after if after and _joins(step, after) else None
        if pool:
            joined.add(pool.name)
        yield Stage(layer=step, pool=pool)


def _joins(layer: IntStep, after: IntStep) -> bool:
    conv, pool = layer.product, after.step.nodes[0]
    plain = conv and conv.kernel and conv.groups == 1 and conv.dilation == (1, 1)
    if not (plain and isinstance(pool, Pool) and pool.kind == "max"):
        return False
    if len(after.step.nodes) > 1 or any(map(any, pool.pads)):
        return False
    products = math.prod(_joint_kernel(conv, pool.window)) * math.prod(pool.window)
    alone = math.prod(conv.kernel) * math.prod(pool.stride)
    # A table need not keep the order of its entries.
    return layer.weighted.table is None and products <= _FUSED_PRODUCTS * alone


def _joint_kernel(conv: Product, window: Pair) -> tuple[int, ...]:
    """Rows and columns of pixels that all positions of one pooling window see."""
    axes = zip(conv.kernel, window, conv.stride, strict=True)
    return tuple(kernel + (window - 1) * stride for kernel, window, stride in axes)


def number_format() -> jnp.dtype:
    """Type in which 8-bit integers are multiplied: bfloat16 where the CPU has it."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return jnp.dtype(jnp.bfloat16 if fast else jnp.float32)


def batch_last(images: Integer[Array, "b ..."]) -> Num[Array, "..."]:
    """Maps (B, H, W, C) as numbers (C, H, W, B); all else (B, ...) as (..., B)."""
    batch, *shape = images.shape
    x = images.reshape(batch, -1).T.reshape(*shape, batch)
    return _held(_channels_first(x))


def batch_first(x: Num[Array, "..."], dtype: np.dtype) -> Integer[Array, "b ..."]:
    """The way back, as integers."""
    x = x.astype(dtype)
    return x.transpose(3, 1, 2, 0) if x.ndim == 4 else jnp.moveaxis(x, -1, 0)


def _held(x: jax.Array) -> jax.Array:
    """Bytes as numbers that multiply fast; wider integers as they are."""
    return x.astype(number_format()) if x.dtype.itemsize == 1 else x.astype(jnp.int32)


def _channels_first(x: jax.Array) -> jax.Array:
    return x.transpose(2, 0, 1, 3) if x.ndim == 4 else x


def _channels_last(x: jax.Array) -> jax.Array:
    return x.transpose(1, 2, 0, 3) if x.ndim == 4 else x


def apply(stage: Stage, *xs: Num[Array, "..."]) -> Num[Array, "..."]:
    """One stage on (C, H, W, B), or (..., B) of what is no map."""
    layer = stage.layer
    named = zip(layer.step.inputs, xs, layer.inputs, strict=True)
    values = {name: Wide(x, kind.exponent) for name, x, kind in named}
    for node in layer.step.nodes:
        inputs = [values[name] for name in node.inputs]
        if isinstance(node, Product):
            sums = _sums(stage, node, inputs[0].integers)
            values[node.name] = Wide(sums, 0)
        elif isinstance(node, Activate) and layer.weighted:
            shape = _features_first((stage.pool or layer).shape)
            y = _activate(layer, inputs[0].integers).reshape(*shape, -1)
            values[node.name] = Wide(y, layer.output.exponent)
        elif isinstance(node, Activate):
            whole = Wide(inputs[0].integers.astype(jnp.int32), inputs[0].exponent)
            y = execute.kept(layer, _held(execute.rescaled(whole, layer.activated)))
            values[node.name] = Wide(y, layer.output.exponent)
        else:
            values[node.name] = entry(_MOVES, node, "quant.fast")(node, *inputs)
    return values[layer.name].integers


def _features_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[-1], *shape[:-1]) if len(shape) == 3 else shape


def _sums(stage: Stage, node: Product, x: jax.Array) -> jax.Array:
    """Sums of products (F, M), of the best of each pooling window if there is one."""
    layer, w = stage.layer, stage.layer.weighted
    if node.kernel is None:
        return _product(layer, w.matrix.T, x)
    if node.groups > 1:
        return _grouped(layer, node, x)
    pool = stage.pooling
    window, jump = (pool.window, pool.stride) if pool else ((1, 1), (1, 1))
    height, width = _joint_kernel(node, window)
    down, right = (s * j for s, j in zip(node.stride, jump, strict=True))
    p, q, _ = (stage.pool or layer).shape
    patches = jnp.stack(
        [
            view[:, :p, :q]
            for row in shifted(x, 1, height, down, node.dilation[0])
            for view in shifted(row, 2, width, right, node.dilation[1])
        ]
    )
    patches_KN = patches.reshape(-1, p * q * x.shape[-1])
    sums = _product(layer, joint_weights(w.weights, node.stride, window), patches_KN)
    # Halves against halves: each maximum then reads two contiguous blocks.
    for size in window:
        blocks = sums.reshape(size, -1, *sums.shape[1:])
        sums = reduce(jnp.maximum, blocks)
    return sums


def _grouped(layer: IntStep, node: Product, x_CHWB: jax.Array) -> jax.Array:
    """Sums of products (F, M) of a convolution in groups of channels."""
    exact = layer.accumulator_bound() < _FLOAT32_INTEGERS
    groups, features = node.groups, node.features
    views = [
        view
        for row in shifted(x_CHWB, 1, node.kernel[0], node.stride[0], node.dilation[0])
        for view in shifted(row, 2, node.kernel[1], node.stride[1], node.dilation[1])
    ]
    each, kind = features // groups, jnp.float32 if exact else jnp.int32
    w_TCF = layer.weighted.weights.reshape(len(views), -1, features)
    if node.depthwise:
        taps = w_TCF.reshape(len(views), groups, each, 1, 1, 1)
        terms = (
            view[:, None].astype(kind) * jnp.asarray(tap, kind)
            for view, tap in zip(views, taps, strict=True)
        )
        return reduce(jnp.add, terms).reshape(features, -1)
    stacked = jnp.stack(views).reshape(len(views), groups, node.K // len(views), -1)
    patches_GKM = stacked.swapaxes(0, 1).reshape(groups, node.K, -1)
    w_GNK = w_TCF.reshape(node.K, groups, each).transpose(1, 2, 0)
    held = patches_GKM if exact else patches_GKM.astype(jnp.int32)
    sums_GNM = jax.lax.dot_general(
        jnp.asarray(w_GNK, held.dtype),
        held,
        (((2,), (1,)), ((0,), (0,))),
        preferred_element_type=kind,
    )
    return sums_GNM.reshape(features, -1)


def _mul(node: Mul, x: Wide, factor: Wide) -> Wide:
    a, b = (v.integers.astype(jnp.int32) for v in (x, factor))
    b = b if a.ndim == b.ndim else b[:, None, None]
    return Wide(a * b, x.exponent + factor.exponent)


def _add(node: Add, *xs: Wide) -> Wide:
    low = min(x.exponent for x in xs)
    shifts = (x.integers.astype(jnp.int32) << (x.exponent - low) for x in xs)
    return Wide(reduce(jnp.add, shifts), low)


def _axis(node: Slice | Concat) -> int:
    """Where an axis of a value stands here: the channels of a map come first."""
    return (node.axis + 1) % 3 if len(node.shape) == 3 else node.axis


def _slice(node: Slice, x: Wide) -> Wide:
    axis = _axis(node)
    cut = jax.lax.slice_in_dim(x.integers, node.start, node.stop, axis=axis)
    return Wide(cut, x.exponent)


def _concat(node: Concat, *xs: Wide) -> Wide:
    joined = jnp.concatenate([x.integers for x in xs], axis=_axis(node))
    return Wide(joined, xs[0].exponent)


def _reshape(node: Reshape, x: Wide) -> Wide:
    y = _channels_last(x.integers).reshape(*node.shape, -1)
    return Wide(_channels_first(y), x.exponent)


_MOVES: dict[type[Node], Callable[..., Wide]] = {
    Pad: lambda node, x: Wide(_pad(node, x.integers), x.exponent),
    Pool: lambda node, x: Wide(_pooled(node, x.integers), x.exponent),
    Reshape: _reshape,
    Slice: _slice,
    Concat: _concat,
    Add: _add,
    Mul: _mul,
}


def joint_weights(
    weights: Integer[np.ndarray, "r s c f"], stride: Pair, window: Pair
) -> Integer[np.ndarray, "n k"]:
    """Left factor of a pooled convolution: rows (window, F), columns (r, s, c)."""
    r, s, c, f = weights.shape
    axes = zip((r, s), window, stride, strict=True)
    kernel = tuple(size + (count - 1) * step for size, count, step in axes)
    joint = np.zeros((*window, f, *kernel, c), weights.dtype)
    for i in range(window[0]):
        for j in range(window[1]):
            top, left = i * stride[0], j * stride[1]
            joint[i, j, :, top : top + r, left : left + s] = weights.transpose(3, 0, 1, 2)
    return joint.reshape(math.prod(window) * f, -1)


def _product(layer: IntStep, w_NK: np.ndarray, x_KM: jax.Array) -> jax.Array:
    """Sums of products without bias: float32 where the weights prove it exact, or int32."""
    numbers = (((1,), (0,)), ((), ()))
    if layer.accumulator_bound() < _FLOAT32_INTEGERS:
        w = jnp.asarray(w_NK.astype(np.float32), x_KM.dtype)
        return jax.lax.dot_general(w, x_KM, numbers, preferred_element_type=jnp.float32)
    # As in `execute.dot`: bytes of one sign.
    offset = 0 if layer.input.signed else 128
    whole = (x_KM.astype(jnp.int32) - offset).astype(jnp.int8)
    sums = jax.lax.dot_general(
        jnp.asarray(w_NK), whole, numbers, preferred_element_type=jnp.int32
    )
    return sums + jnp.asarray(offset * w_NK.astype(np.int32).sum(1))[:, None]


def _activate(layer: IntStep, sums_NM: Num[Array, "n m"]) -> Num[Array, "n m"]:
    """Sums brought back to 8 bits, through the table if there is one."""
    w = layer.weighted
    bias, multiplier = w.bias[:, None], w.multiplier[:, None]
    if sums_NM.dtype == jnp.int32:
        biased = sums_NM + jnp.asarray(bias)
        y = execute.requantise(biased, multiplier, w.shift, w.sum.low, w.sum.high)
    else:
        y = requantise_float32(sums_NM, bias, multiplier, w.shift, w.sum.low, w.sum.high)
    if w.table is not None:
        y = jnp.asarray(w.table.astype(np.float32))[y.astype(jnp.int32) + 128]
    return y.astype(number_format())


def requantise_float32(
    sums: Float[Array, "n m"],
    bias: Integer[np.ndarray, "n 1"],
    multiplier: Integer[np.ndarray, "n 1"],
    shift: int,
    low: int,
    high: int,
) -> Float[Array, "n m"]:
    """clip(rint((sums + bias) * float32(multiplier * 2^-shift))); `float32_rounding.py`
    proves that this is the integers' rule."""
    scale = np.ldexp(multiplier.astype(np.float32), -shift)
    scaled = (sums + jnp.asarray(bias.astype(np.float32))) * jnp.asarray(scale)
    return jnp.clip(jnp.round(scaled), low, high)


def _pad(node: Pad, x_CHWB: jax.Array) -> jax.Array:
    """What stands outside the image."""
    widths = ((0, 0), *node.pads, (0, 0))
    if node.kind == "edge":
        return jnp.pad(x_CHWB, widths, mode="edge")
    padded = jnp.pad(x_CHWB, widths)
    if node.kind == "zero":
        return padded
    height, width = x_CHWB.shape[1:3]
    total = x_CHWB.astype(jnp.int32).sum((1, 2), keepdims=True)
    mean = execute.divide_rne(total, height * width).astype(x_CHWB.dtype)
    inside = jnp.pad(jnp.ones((1, height, width, 1), bool), widths)
    return jnp.where(inside, padded, mean)


def _pooled(node: Pool, x_CHWB: jax.Array) -> jax.Array:
    """Largest or mean value of each window."""
    maximum = node.kind == "max"
    y = x_CHWB if maximum else x_CHWB.astype(jnp.int32)
    if any(map(any, node.pads)):
        # Zeros outside count in a mean and never win.
        least = -(1 << 15) if maximum else 0
        y = jnp.pad(y, ((0, 0), *node.pads, (0, 0)), constant_values=least)
    combine = jnp.maximum if maximum else jnp.add
    for axis, size, step in zip((1, 2), node.window, node.stride, strict=True):
        y = reduce(combine, shifted(y, axis, size, step))
    if not maximum:
        y = execute.divide_rne(y, math.prod(node.window))
    return y.astype(x_CHWB.dtype)
