"""model.stablehlo: the integer network as a StableHLO program, made by `jax.export`.

The program is `execute.run` itself, for any number of images and for CPU, GPU and TPU:
one entry point, "image" uint8 (batch, *input_shape) to the integer outputs of every
step in order, the last of which are the logits. It holds integers only.

A serialised program is code: JAX asks that it be trusted, and its parser survives no
hostile bytes. So nothing here parses a file to judge it. `differences` compares bytes
with a fresh export, and only a file that is equal to it may be opened.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax import export
from jaxtyping import Array, Integer, UInt8

from configs.errors import InputError
from configs.program import Activate, Product
from quant.execute import MOVES, run
from quant.exports.limits import ALWAYS, PRODUCTS, Limits, first_clause
from quant.network import IntNetwork, IntStep

FILE = "model.stablehlo"
RUNTIME = "stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
# Images of one call; fewer are filled up, so that few sizes are ever compiled.
_CHUNK = 256
# JAX writes the name of the function into the file: it says which JAX wrote it.
_WRITER = re.compile(rb"lockstep_jax_([0-9a-z_]+)_jaxlib_([0-9a-z_]+?)_end")


# The program is the integer arithmetic itself, which refuses what it does not know.
LIMITS: Limits = {**dict.fromkeys((Activate, *MOVES), ALWAYS), Product: PRODUCTS}


def unsupported(layer: IntStep) -> str | None:
    """None for every step of operators that `quant.execute` knows."""
    return first_clause(LIMITS, layer)


def encode(network: IntNetwork) -> bytes:
    """The file; the same bytes for the same network, JAX and jaxlib."""
    for layer in network.walk():
        if clause := unsupported(layer):
            raise InputError(
                f"`{layer.name}` cannot be written to {FILE}: {clause}; leave stablehlo "
                f"out with --formats."
            )
    layers = [layer.name for layer in network.walk()]

    def program(image: UInt8[Array, "batch ..."]) -> tuple[jax.Array, ...]:
        outputs = run(network, image).outputs
        return tuple(outputs[name] for name in layers)

    program.__name__ = program.__qualname__ = _writer()
    (batch,) = export.symbolic_shape("batch")
    image = jax.ShapeDtypeStruct((batch, *network.network.input_shape), jnp.uint8)
    with _without_paths():
        exported = export.export(jax.jit(program), platforms=PLATFORMS)(image)
        return bytes(exported.serialize())


def _writer() -> str:
    plain = lambda version: re.sub("[^0-9a-z]", "_", version.lower())
    return f"lockstep_jax_{plain(jax.__version__)}_jaxlib_{plain(jaxlib.__version__)}_end"


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
    """Keeps the paths and lines of this machine's Python files out of what JAX writes."""
    before = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def open_session(
    content: bytes, *, threads: int = 1
) -> Callable[[UInt8[np.ndarray, "n ..."]], Integer[np.ndarray, "n ..."]]:
    """A function from images to outputs.

    Args:
      content: a file of which `differences` is None; any other may end the process.
      threads: without effect, XLA has one pool of threads for the whole process.
    """
    exported = export.deserialize(bytearray(content))
    # Only the last output leaves `jit`: XLA drops what the others alone need.
    last = jax.jit(lambda images: exported.call(images)[-1:])
    return lambda images: _chunked(exported, last, images)[-1]


def layer_outputs(
    content: bytes, network: IntNetwork, images: UInt8[np.ndarray, "n ..."]
) -> dict[str, Integer[np.ndarray, "n ..."]]:
    """Output of every step by name, as the file computes it; see `open_session`."""
    exported = export.deserialize(bytearray(content))
    outputs = _chunked(exported, jax.jit(exported.call), images)
    names = [layer.name for layer in network.walk()]
    return dict(zip(names, outputs, strict=True))


def _chunked(
    exported: export.Exported, call: Callable, images: np.ndarray
) -> list[np.ndarray]:
    """Outputs of a call for any number of images."""
    parts = []
    for first in range(0, len(images), _CHUNK):
        chunk = images[first : first + _CHUNK]
        # The last of several chunks has the size of the others: one program for all.
        size = _CHUNK if first else 1 << (len(chunk) - 1).bit_length()
        filled = np.zeros((size, *chunk.shape[1:]), chunk.dtype)
        filled[: len(chunk)] = chunk
        parts.append([np.asarray(y)[: len(chunk)] for y in call(filled)])
    if not parts:
        return [np.empty((0, *y.shape[1:]), y.dtype) for y in exported.out_avals]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def differences(content: bytes, network: IntNetwork) -> str | None:
    """One sentence on what the file holds and `encode` would not write, or None."""
    fresh = encode(network)
    if content == fresh:
        return None
    written = _WRITER.search(content)
    if not written:
        return f"`{FILE}` is no export of Lockstep, or it is damaged; export it again."
    if written[0].decode() != _writer():
        jax_, jaxlib_ = (part.decode().replace("_", ".") for part in written.groups())
        return (
            f"`{FILE}` was written by jax {jax_} with jaxlib {jaxlib_} and cannot be "
            f"compared with what jax {jax.__version__} with jaxlib {jaxlib.__version__} "
            f"writes; use those, or export it again."
        )
    for owner, numbers in network.numbers().items():
        for name, array in numbers.tensors().items():
            found = _tensor_difference(content, fresh, array)
            if found:
                return f"`{owner}.{name}` {found}"
    return _first_byte(content, fresh)


def _tensor_difference(content: bytes, fresh: bytes, array: np.ndarray) -> str | None:
    """What is wrong with a tensor whose bytes stand in the fresh file but not in this."""
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    at = fresh.find(data)
    # One that JAX writes in another form, as it does with equal values, is found by
    # the comparison of all bytes alone.
    if at < 0 or data in content:
        return None
    held = content[at : at + len(data)]
    if len(content) == len(fresh) and len(held) == len(data):
        values = np.frombuffer(held, array.dtype.newbyteorder("<"))
        wrong = np.flatnonzero(values != array.ravel())
        # More than that is a file of another structure, read at the wrong place.
        if len(wrong) <= max(1, array.size // 2):
            index = wrong[0]
            return f"at index {index} is {values[index]}, not {array.flat[index]}."
    return f"is not in `{FILE}`."


def _first_byte(content: bytes, fresh: bytes) -> str:
    if len(content) != len(fresh):
        return f"`{FILE}` has {len(content)} bytes, not {len(fresh)}; export it again."
    pairs = zip(content, fresh, strict=True)
    at = next(index for index, (one, other) in enumerate(pairs) if one != other)
    return f"`{FILE}` differs from a fresh export at byte {at}; export it again."
