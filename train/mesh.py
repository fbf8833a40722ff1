"""All devices of all processes as one mesh; one device is a mesh of one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train.distributed import Distributed

_NETWORK = re.compile(
    r"gloo|connection|socket|peer|heartbeat|coordination|deadline|unavailable",
    re.IGNORECASE,
)


class LostProcessError(Exception):
    """Another process of a distributed run died or cannot be reached."""


# The one axis: the batch is split over it, everything else is replicated.
AXIS = "data"
REPLICATED = PartitionSpec()


def start(distributed: Distributed, cpu_devices: int) -> None:
    """Tells JAX which devices there are; before anything else uses JAX."""
    if cpu_devices > 1:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    if distributed.coordinator:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        # Another process's death is then an exception here, not an abort.
        jax.config.update("jax_enable_recoverability", True)
        jax.distributed.initialize(
            distributed.coordinator,
            distributed.processes,
            distributed.process,
            heartbeat_timeout_seconds=distributed.heartbeat_s,
            initialization_timeout=distributed.start_s,
        )


@contextlib.contextmanager
def lost_processes(distributed: Distributed) -> Iterator[None]:
    """Turns the failure of another process into a `LostProcessError`.

    What JAX raises then has no type of its own; with several processes any error of
    its runtime counts.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError, RuntimeError) as error:
        if distributed.processes == 1 or not _NETWORK.search(str(error)):
            raise
        raise LostProcessError(
            f"process {distributed.process} of {distributed.processes} lost the others: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error


def everywhere(number: int) -> list[int]:
    """The number that each process has; returns when all of them have called it."""
    if jax.process_count() == 1:
        return [number]
    from jax.experimental import multihost_utils

    found = multihost_utils.process_allgather(np.array(number, np.int32))
    return [int(each) for each in found]


def all_devices() -> Mesh:
    return Mesh(np.array(jax.devices()), (AXIS,))


def place(tree: Any, mesh: Mesh, spec: PartitionSpec = REPLICATED) -> Any:
    """Host arrays, equal in every process, as global arrays laid out by `spec`."""
    sharding = NamedSharding(mesh, spec)

    def place_one(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place_one(jax.random.key_data(x)))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

    return jax.tree.map(place_one, tree)


def fetch(tree: Any) -> Any:
    """Replicated global arrays as host arrays."""
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)
