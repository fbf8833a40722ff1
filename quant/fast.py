"""The integer network in JAX, arranged for speed; the same integers as `normative.py`.

On a CPU the fast multipliers are those for floats, so integers travel as floats that hold
them exactly: 8-bit values in bfloat16 (up to 256), sums in float32 (up to 2^24, which the
weights of a layer prove; a layer that cannot prove it sums in int32). What else is fast:

- arrays are (C, H, W, B): copies, sums and maxima run along rows of B images;
- a few images at a time, so that everything stays in the second-level cache;
- max pooling before requantisation, since a positive multiplier keeps the order;
- a convolution with its pooling is one matrix product: each of the positions in a window
  is a block of features of a larger kernel that strides by the window.

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

from configs.errors import unknown
from configs.network import Conv, Dense, Flatten, GlobalPool, Pool
from quant import execute
from quant.network import IntLayer, IntNetwork
from train.mesh import AXIS, all_devices
from train.products import on_cpu, shifted

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
    """A layer, or a convolution together with the max pooling that follows it."""

    layer: IntLayer
    pool: IntLayer | None = None

    @property
    def name(self) -> str:
        return (self.pool or self.layer).name


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
        return execute.run(network, images).outputs[list(network.walk())[-1].name]
    x = batch_last(images)
    for stage in stages(network):
        x = apply(stage, x)
    return batch_first(x, network.output.dtype)


def _each_layer(network: IntNetwork, images: jax.Array) -> dict[str, jax.Array]:
    x, outputs = batch_last(images), {}
    for stage in stages(network):
        if stage.pool:
            alone = apply(Stage(layer=stage.layer), x)
            outputs[stage.layer.name] = batch_first(alone, stage.layer.output.dtype)
        x = apply(stage, x)
        outputs[stage.name] = batch_first(x, stage.layer.output.dtype)
    return outputs


def chunk_size(network: IntNetwork) -> int:
    """Images at a time: a power of two."""
    largest = max(_bytes_per_image(stage) for stage in stages(network))
    fitting = max(1, _CHUNK_BYTES // largest)
    return min(_LARGEST_CHUNK, 1 << (fitting.bit_length() - 1))


def _bytes_per_image(stage: Stage) -> int:
    info = stage.layer.info
    if not isinstance(info.spec, Conv):
        return 4 * max(info.activations, math.prod(info.input_shape))
    p, q, _ = info.output_shape
    patches = 2 * p * q * math.prod(info.spec.kernel) * info.input_shape[-1]
    return max(patches, 4 * info.activations)


def stages(network: IntNetwork) -> Iterator[Stage]:
    """The layers in order, poolings joined to convolutions where that is exact and pays."""
    walk = list(network.walk())
    while walk:
        layer = walk.pop(0)
        if walk and _joins(layer, walk[0]):
            yield Stage(layer=layer, pool=walk.pop(0))
        else:
            yield Stage(layer=layer)


def _joins(layer: IntLayer, after: IntLayer) -> bool:
    conv, pool = layer.info.spec, after.info.spec
    if not (isinstance(conv, Conv) and isinstance(pool, Pool) and pool.kind == "max"):
        return False
    products = math.prod(_joint_kernel(conv, pool)) * math.prod(pool.window)
    alone = math.prod(conv.kernel) * math.prod(pool.stride)
    # A table need not keep the order of its entries.
    return layer.weighted.table is None and products <= _FUSED_PRODUCTS * alone


def _joint_kernel(conv: Conv, pool: Pool) -> tuple[int, ...]:
    """Rows and columns of pixels that all positions of one pooling window see."""
    axes = zip(conv.kernel, pool.window, conv.stride, strict=True)
    return tuple(kernel + (window - 1) * stride for kernel, window, stride in axes)


def number_format() -> jnp.dtype:
    """Type in which 8-bit integers are multiplied: bfloat16 where the CPU has it."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return jnp.dtype(jnp.bfloat16 if fast else jnp.float32)


def batch_last(images: UInt8[Array, "b ..."]) -> Num[Array, "..."]:
    """Pixels (B, H, W, C) as numbers (C, H, W, B); vectors (B, K) as (K, B)."""
    batch, *shape = images.shape
    x = images.reshape(batch, -1).T.reshape(*shape, batch)
    return _channels_first(x).astype(number_format())


def batch_first(x: Num[Array, "..."], dtype: np.dtype) -> Integer[Array, "b ..."]:
    """The way back, as integers."""
    x = x.astype(dtype)
    return x.transpose(3, 1, 2, 0) if x.ndim == 4 else x.T


def _channels_first(x: jax.Array) -> jax.Array:
    return x.transpose(2, 0, 1, 3) if x.ndim == 4 else x


def apply(stage: Stage, x: Num[Array, "..."]) -> Num[Array, "..."]:
    """One stage on (C, H, W, B) or (K, B)."""
    layer, spec = stage.layer, stage.layer.info.spec
    if isinstance(spec, Conv):
        return _convolution(stage, _pad(layer, x))
    if isinstance(spec, Dense):
        return _activate(layer, _product(layer, layer.weighted.matrix.T, x))
    if isinstance(spec, Flatten):
        return x.transpose(1, 2, 0, 3).reshape(-1, x.shape[-1]) if x.ndim == 4 else x
    if isinstance(spec, Pool | GlobalPool):
        return _pooled(layer, x)
    raise unknown(spec, "quant.fast")


def _convolution(stage: Stage, x_CHWB: jax.Array) -> jax.Array:
    layer, w = stage.layer, stage.layer.weighted
    conv, pool = (
        layer.info.spec,
        stage.pool.info.spec if stage.pool else Pool(window=(1, 1)),
    )
    height, width = _joint_kernel(conv, pool)
    jump = pool.stride if stage.pool else (1, 1)
    down, right = (s * j for s, j in zip(conv.stride, jump, strict=True))
    p, q, features = (stage.pool or layer).info.output_shape
    patches = jnp.stack(
        [
            view[:, :p, :q]
            for row in shifted(x_CHWB, 1, height, down)
            for view in shifted(row, 2, width, right)
        ]
    )
    batch = x_CHWB.shape[-1]
    patches_KN = patches.reshape(-1, p * q * batch)
    sums = _product(layer, joint_weights(w.weights, conv, pool), patches_KN)
    # Halves against halves: each maximum then reads two contiguous blocks.
    for size in pool.window:
        blocks = sums.reshape(size, -1, *sums.shape[1:])
        sums = reduce(jnp.maximum, blocks)
    return _activate(layer, sums).reshape(features, p, q, batch)


def joint_weights(
    weights: Integer[np.ndarray, "r s c f"], conv: Conv, pool: Pool
) -> Integer[np.ndarray, "n k"]:
    """Left factor of a pooled convolution: rows (window, F), columns (r, s, c)."""
    r, s, c, f = weights.shape
    joint = np.zeros((*pool.window, f, *_joint_kernel(conv, pool), c), weights.dtype)
    for i in range(pool.window[0]):
        for j in range(pool.window[1]):
            top, left = i * conv.stride[0], j * conv.stride[1]
            joint[i, j, :, top : top + r, left : left + s] = weights.transpose(3, 0, 1, 2)
    return joint.reshape(math.prod(pool.window) * f, -1)


def _product(layer: IntLayer, w_NK: np.ndarray, x_KM: jax.Array) -> jax.Array:
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


def _activate(layer: IntLayer, sums_NM: Num[Array, "n m"]) -> Num[Array, "n m"]:
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
    """clip(rint((sums + bias) * float32(multiplier * 2^-shift))); `certificate.py` proves
    that this is the integers' rule."""
    scale = np.ldexp(multiplier.astype(np.float32), -shift)
    scaled = (sums + jnp.asarray(bias.astype(np.float32))) * jnp.asarray(scale)
    return jnp.clip(jnp.round(scaled), low, high)


def _pad(layer: IntLayer, x_CHWB: jax.Array) -> jax.Array:
    """What stands outside the image, as the layer says."""
    spec = layer.info.spec
    if spec.padding == "valid":
        return x_CHWB
    x_BHWC = x_CHWB.transpose(3, 1, 2, 0).astype(layer.input.dtype)
    return execute.pad(x_BHWC, spec).transpose(3, 1, 2, 0).astype(x_CHWB.dtype)


def _pooled(layer: IntLayer, x_CHWB: jax.Array) -> jax.Array:
    """Largest or mean value of each window, or of each channel."""
    spec = layer.info.spec
    whole = isinstance(spec, GlobalPool)
    window = x_CHWB.shape[1:3] if whole else spec.window
    stride = (1, 1) if whole else spec.stride
    combine = jnp.maximum if spec.kind == "max" else jnp.add
    y = x_CHWB if spec.kind == "max" else x_CHWB.astype(jnp.int32)
    for axis, size, step in zip((1, 2), window, stride, strict=True):
        y = reduce(combine, shifted(y, axis, size, step))
    if spec.kind == "mean":
        y = execute.divide_rne(y, math.prod(window))
    y = y.astype(x_CHWB.dtype)
    return y[:, 0, 0] if whole else y
