"""Logits of any network for any number of images: what every printed number comes from."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from jax import shard_map
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from train.mesh import AXIS, all_devices

# Images per device and call: few enough for the caches.
CHUNK = 64


class Classifier:
    """judge(images uint8 (n, ...)) -> logits float32 (n, F), over all devices; any n.

    There is one compiled program, of a fixed number of images, so that equal images get
    equal bits whoever they stand beside. `predict` maps uint8 (B, ...) to logits (B, F)
    inside `jit`.
    """

    def __init__(self, predict: Callable[[jax.Array], jax.Array]) -> None:
        mesh = all_devices()
        self._predict = predict
        self._size = mesh.size * CHUNK
        self._sharding = NamedSharding(mesh, P(AXIS))
        self._compiled = jax.jit(
            shard_map(
                predict, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), check_vma=False
            )
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if images.dtype != np.uint8:
            raise TypeError(f"images must be uint8, not {images.dtype}")
        waiting = []
        for first in range(0, len(images), self._size):
            part = images[first : first + self._size]
            missing = ((0, self._size - len(part)), *((0, 0),) * (part.ndim - 1))
            placed = jax.device_put(np.pad(part, missing), self._sharding)
            waiting.append(self._compiled(placed))
        if not waiting:
            one = jax.ShapeDtypeStruct((1, *images.shape[1:]), np.uint8)
            return np.empty((0, *jax.eval_shape(self._predict, one).shape[1:]), np.float32)
        logits = np.concatenate([np.asarray(each) for each in waiting])[: len(images)]
        return logits.astype(np.float32, casting="safe")

    def classes(self, images: np.ndarray) -> np.ndarray:
        """Predicted classes (n,): the argmax, the first one on ties."""
        return np.argmax(self(images), -1)
