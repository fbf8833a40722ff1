"""Predictions of a model for many images, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import shard_map
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from train.mesh import AXIS, fetch
from train.model import merge

# Images per device and call: few enough for the caches, enough to hide the call.
_CHUNK = 64
_CHUNKS = 16


def make_predict(
    graph: nnx.GraphDef, mesh: Mesh
) -> Callable[[Any, np.ndarray], np.ndarray]:
    """predict(params, images (N, ...)) -> outputs float32 (N, F), over all devices."""

    def share(params, images):
        chunks = images.reshape(_CHUNKS, _CHUNK, *images.shape[1:])
        outputs = jax.lax.map(merge(graph, params), chunks)
        outputs = outputs.reshape(_CHUNKS * _CHUNK, -1)
        return jax.lax.all_gather(outputs, AXIS, tiled=True)

    compiled = jax.jit(
        shard_map(share, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False)
    )
    size = mesh.size * _CHUNKS * _CHUNK

    def predict(params: Any, images: np.ndarray) -> np.ndarray:
        outputs = []
        for first in range(0, len(images), size):
            part = images[first : first + size]
            missing = ((0, size - len(part)), *((0, 0),) * (part.ndim - 1))
            padded = np.pad(part, missing)
            outputs.append(fetch(compiled(params, _sharded(padded, mesh)))[: len(part)])
        return np.concatenate(outputs)

    return predict


def _sharded(images: np.ndarray, mesh: Mesh) -> jax.Array:
    sharding = jax.sharding.NamedSharding(mesh, P(AXIS))
    return jax.make_array_from_callback(images.shape, sharding, lambda part: images[part])


def scores(outputs: np.ndarray, labels: np.ndarray, task: str) -> dict[str, float]:
    """{"loss", "accuracy"} of logits, or {"mse"} of regression outputs."""
    if task == "regression":
        error = outputs.astype(np.float64) - labels
        return {"mse": float(np.mean(error**2))}
    shifted = outputs - outputs.max(-1, keepdims=True)
    log_sum = np.log(np.exp(shifted.astype(np.float64)).sum(-1))
    loss = log_sum - shifted[np.arange(len(labels)), labels]
    correct = np.argmax(outputs, -1) == labels
    return {"loss": float(loss.mean()), "accuracy": float(correct.mean())}
