"""One compiled program of fixed size over all devices, for any number of images."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import shard_map
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from train.mesh import AXIS, all_devices

# Images per device: at a time (few enough for the caches), and in one call.
CHUNK = 64
_CHUNKS = 16


def capacity() -> int:
    """Images of one call, over all devices."""
    return all_devices().size * CHUNK * _CHUNKS


def over_devices(compute: Callable, *arrays: np.ndarray) -> np.ndarray:
    """compute(*arrays), row by row: uint8 images (N, ...) and what belongs to each.

    `compute` takes and gives arrays of `CHUNK` rows and is compiled once, so equal rows
    give equal bits however many there are. Rows that are missing are zeros.
    """
    mesh, size = all_devices(), capacity()
    program = _compiled(compute, len(arrays))
    sharding = NamedSharding(mesh, P(AXIS))
    parts = []
    for first in range(0, max(1, len(arrays[0])), size):
        part = [x[first : first + size] for x in arrays]
        share = -(-len(part[0]) // mesh.size)
        placed = jax.device_put([_divided(x, share, mesh.size) for x in part], sharding)
        chunks = np.int32(-(-share // CHUNK))
        outputs = np.asarray(program(chunks, *placed))
        outputs = outputs.reshape(mesh.size, -1, *outputs.shape[1:])[:, :share]
        parts.append(outputs.reshape(-1, *outputs.shape[2:])[: len(part[0])])
    return np.concatenate(parts)


def _divided(x: np.ndarray, share: int, devices: int) -> np.ndarray:
    """`share` rows for every device, each padded to what one call takes."""
    rows = ((0, share * devices - len(x)), *((0, 0),) * (x.ndim - 1))
    x = np.pad(x, rows).reshape(devices, share, *x.shape[1:])
    x = np.pad(x, ((0, 0), (0, CHUNK * _CHUNKS - share), *((0, 0),) * (x.ndim - 2)))
    return x.reshape(-1, *x.shape[2:])


@functools.lru_cache(maxsize=32)
def _compiled(compute: Callable, arrays: int) -> Callable:
    def share(chunks, *parts):
        def step(n, outputs):
            rows = [jax.lax.dynamic_slice_in_dim(x, n * CHUNK, CHUNK) for x in parts]
            return jax.lax.dynamic_update_slice_in_dim(
                outputs, compute(*rows), n * CHUNK, 0
            )

        one = jax.eval_shape(compute, *(x[:CHUNK] for x in parts))
        outputs = jnp.zeros((CHUNK * _CHUNKS, *one.shape[1:]), one.dtype)
        return jax.lax.fori_loop(0, chunks, step, outputs)

    return jax.jit(
        shard_map(
            share,
            mesh=all_devices(),
            in_specs=(P(), *(P(AXIS),) * arrays),
            out_specs=P(AXIS),
            check_vma=False,
        )
    )
