"""Runs an integer network on a machine and compares every value with the normative one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod

import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer, UInt8

from accel.machines.counters import Counters, total
from accel.predict import timing
from accel.verify.locate import locate
from accel.verify.mismatch import Mismatch
from accel.verify.run import LayerRun, Setup
from accel.workload.gemm import Gemm
from configs.program import Product
from quant import execute, normative
from quant.network import IntNetwork

# Images at once: what the values of their layers may take of memory.
_CHUNK_BYTES = 1 << 28
_MOST_IMAGES = 4096
# Images that the judge takes at once, and those whose products it takes in 64-bit
# integers; the rest go through float64, which is exact below 2^53.
_JUDGED = 250
_IN_INTEGERS = 50


@dataclass(frozen=True)
class LayerResult:
    """One layer with weights, over all images."""

    # The product of a full batch.
    gemm: Gemm
    counted: Counters
    predicted: Counters
    # Values compared: int32 sums and 8-bit outputs.
    compared: int
    wrong_sums: int
    wrong_outputs: int

    @property
    def mismatches(self) -> int:
        return self.wrong_sums + self.wrong_outputs


@dataclass(frozen=True)
class Verified:
    """What a machine made of a network."""

    setup: Setup
    images: int
    layers: tuple[LayerResult, ...]
    # Steps without weights (pooling, sums, ...): outputs compared, and that differ.
    others: dict[str, tuple[int, int]]
    # Outputs of the machine and of the normative network, (images, F).
    outputs: Integer[np.ndarray, "n ..."]
    expected: Integer[np.ndarray, "n ..."]
    mismatch: Mismatch | None

    @property
    def wrong(self) -> int:
        """Values that differ."""
        wrong = sum(layer.mismatches for layer in self.layers)
        return wrong + sum(wrong for _, wrong in self.others.values())

    @property
    def compared(self) -> int:
        """Values compared."""
        count = sum(layer.compared for layer in self.layers)
        return count + sum(count for count, _ in self.others.values())

    @property
    def miscounted(self) -> tuple[str, ...]:
        """Layers whose counts are not what the closed forms say."""
        odd = (layer for layer in self.layers if layer.counted != layer.predicted)
        return tuple(layer.gemm.name for layer in odd)

    @property
    def holds(self) -> bool:
        """Every bit agrees, and every count is what its closed form says."""
        return not self.wrong and not self.miscounted

    @property
    def total(self) -> Counters:
        return total([layer.counted for layer in self.layers])


@dataclass
class _Tally:
    """What was compared in one layer so far."""

    compared: int = 0
    wrong_sums: int = 0
    wrong_outputs: int = 0
    counters: list[Counters] = field(default_factory=list)

    def differing(
        self, found: Integer[np.ndarray, "b ..."], expected: Integer[np.ndarray, "b ..."]
    ) -> int:
        """Compares values; gives back how many differ."""
        self.compared += expected.size
        return int(np.count_nonzero(found != expected))


def verify(
    network: IntNetwork,
    images: UInt8[np.ndarray, "n ..."],
    setup: Setup,
    *,
    explain: bool = True,
    done: Callable[[int], None] = lambda cycles: None,
) -> Verified:
    """Steps all images through the machine and judges every sum and every output.

    Args:
      explain: look for the place where the first wrong value came from.
      done: told the cycles of each layer when they are stepped.

    Raises:
      InputError: the network does not fit the machine.
      LostResultError: a result did not come out of the machine.
    """
    predicted = timing.layers(setup.machine, network.network, len(images), setup.batch)
    tallies = {layer.name: _Tally() for layer in network.walk()}
    last = list(tallies)[-1]
    outputs, expected, mismatch = [], [], None
    product = setup.matmul(done)
    size = chunk(network, len(images), setup.batch)
    for first in range(0, len(images), size):
        some = images[first : first + size]
        found = execute.run(network, jnp.asarray(some), product)
        for name, work in found.counters.items():
            tallies[name].counters.append(work.counters)
        outputs.append(np.asarray(found.outputs[last]))
        for start, step in _judged(network, some, in_integers=_IN_INTEGERS - first):
            wrong = _compare(found, step, start, tallies[step.layer.name])
            if explain and wrong and mismatch is None:
                given = normative.starts(network, some)
                mismatch = locate(
                    setup, step, found, given, network, start=start, before=first
                )
            if step.layer.name == last:
                expected.append(step.output)
    named = names(network)
    layers = [
        _result(gemm, counters, tallies[named[gemm.name]]) for gemm, counters in predicted
    ]
    others = {
        n: (t.compared, t.wrong_outputs) for n, t in tallies.items() if not t.counters
    }
    return Verified(
        setup, len(images), tuple(layers), others, np.concatenate(outputs),
        np.concatenate(expected), mismatch,
    )  # fmt: skip


def names(network: IntNetwork) -> dict[str, str]:
    """For each matrix product, by what it is called, the step that does it."""
    titles = network.program.titles()
    steps = (step for step in network.walk() if step.product)
    return {titles[step.product.name]: step.name for step in steps}


def _result(gemm: Gemm, predicted: Counters, tally: _Tally) -> LayerResult:
    return LayerResult(
        gemm,
        total(tally.counters),
        predicted,
        tally.compared,
        tally.wrong_sums,
        tally.wrong_outputs,
    )


def chunk(network: IntNetwork, images: int, batch: int) -> int:
    """Images that go through all layers at once: whole batches, as many as fit memory."""
    bytes_each = sum(
        prod(step.shape) * step.output.dtype.itemsize + _product_bytes(step.product)
        for step in network.walk()
    )
    fitting = min(_CHUNK_BYTES // bytes_each, _MOST_IMAGES, images)
    return max(fitting // batch, 1) * batch


def _product_bytes(node: Product | None) -> int:
    """Bytes of one image: the left factor by the byte, and int32 sums."""
    return node.positions * node.groups * node.K + 4 * node.size if node else 0


def _judged(
    network: IntNetwork, images: UInt8[np.ndarray, "n ..."], *, in_integers: int
) -> Iterator[tuple[int, normative.Step]]:
    """All layers of all images by the normative module, and the first image of each."""
    start = 0
    while start < len(images):
        exact = start < in_integers
        count = min(_IN_INTEGERS, in_integers - start) if exact else _JUDGED
        product = normative.matmul if exact else normative.matmul_blas
        for step in normative.steps(network, images[start : start + count], product):
            yield start, step
        start += count


def _compare(found: execute.Result, step: normative.Step, start: int, tally: _Tally) -> int:
    """Values of some images in one layer that differ: int32 sums and 8-bit outputs."""
    name, images = step.layer.name, slice(start, start + len(step.output))
    outputs = tally.differing(np.asarray(found.outputs[name])[images], step.output)
    tally.wrong_outputs += outputs
    work: LayerRun | None = found.counters.get(name)
    if work is None:
        return outputs
    sums_MN = work.sums_MN.reshape(-1, *step.products.shape[1:])
    sums = tally.differing(sums_MN[images], step.products)
    tally.wrong_sums += sums
    return outputs + sums
