"""All machines side by side on one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isqrt
from typing import Any

from accel.machines.counters import FETCHES, Counters, total
from accel.machines.machine import Direct, Dot, Mac, Machine, Systolic, Tile
from accel.predict import timing
from accel.verify.quantised_run import QuantisedRun
from accel.verify.run import Setup
from accel.verify.verify import verify
from accel.workload.gemm import Gemm
from quant.network import IntNetwork

# Cycles, and multiplications of whole layers at once (`direct`), that are stepped; beyond,
# a machine is predicted only and its row says so.
MOST_CYCLES = 20_000_000
_MOST_SLOTS = 2_000_000_000


def machines(rows: int, cols: int) -> Iterator[tuple[Machine, str]]:
    """Machines and what they are, all but the first two with rows * cols multipliers."""
    size = {"rows": rows, "cols": cols}
    # First of all, since it refuses a size that no array has.
    array = Systolic(**size)
    hardware = array.multipliers
    side = _divisor(hardware)
    yield Direct(), "a multiplier for every connection"
    yield Mac(dram=True), "one multiplier, every operand and sum from and to memory"
    yield Mac(), "one multiplier, the sum in a register"
    yield Dot(multipliers=hardware), "one output at a time, an adder tree"
    yield Tile(inputs=1, outputs=hardware), "one input at a time, many outputs"
    square = {"inputs": side, "outputs": hardware // side}
    yield Tile(**square), "a tile of outputs at a time"
    yield Tile(**square, loop="inputs"), "a tile of inputs at a time"
    yield array, "weight stationary"
    yield (
        Systolic(**size, weights="shadow", load="global"),
        "weights load meanwhile, at once",
    )
    yield Systolic(**size, weights="shadow"), "weights load meanwhile, diagonally"
    yield Systolic(**size, dataflow="is"), "input stationary"
    yield Systolic(**size, dataflow="os"), "output stationary"


def _divisor(size: int) -> int:
    """The largest divisor not above the square root."""
    return next(side for side in range(isqrt(size), 0, -1) if size % side == 0)


def compare(
    subject: QuantisedRun,
    *,
    rows: int,
    cols: int,
    batch: int,
    clock_mhz: float,
    most_cycles: int = MOST_CYCLES,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Every machine on the subject's images: stepped and verified, or predicted.

    Raises:
      InputError: the machines cannot be made.
      LostResultError: a result did not come out of a machine.
    """
    found, widths = [], _widths(subject.network)
    for machine, description in machines(rows, cols):
        count = len(subject.images)
        layers = timing.layers(machine, subject.network.network, count, batch)
        counters = total([counters for _, counters in layers])
        direct = isinstance(machine, Direct)
        stepped = counters.cycles <= most_cycles
        stepped &= not direct or counters.slots <= _MOST_SLOTS
        say(f"{machine.name}: {counters.cycles:,} cycles{'' if stepped else ', predicted'}")
        holds = None
        if stepped:
            setup = Setup(machine=machine, batch=batch)
            verified = verify(subject.network, subject.images, setup)
            counters, holds = verified.total, verified.holds
        size = sum(g.positions * g.K * g.N * g.repeats for g, _ in layers)
        row = {"multipliers": size if direct else machine.multipliers, "verified": holds}
        found.append(
            {"machine": machine.name, "description": description, "stepped": stepped}
            | row
            | _figures(counters, count, clock_mhz)
            | {"fetched_bytes": _fetched_bytes(layers, widths)}
        )
    return {
        "name": subject.name,
        "images": len(subject.images),
        "batch": batch,
        "clock_mhz": clock_mhz,
        "verified": _verdict([row["verified"] for row in found]),
        "bits": {name: list(pair) for name, pair in widths.items()},
        "machines": found,
    }


def _widths(network: IntNetwork) -> dict[str, tuple[int, int]]:
    """Bits of the weights and of the input of each product."""
    titles = network.program.titles()
    steps = (step for step in network.walk() if step.product)
    return {
        titles[one.product.name]: (one.weighted.weight_bits, one.input.bits)
        for one in steps
    }


def _fetched_bytes(
    layers: Sequence[tuple[Gemm, Counters]], widths: Mapping[str, tuple[int, int]]
) -> int:
    """Bytes of all that is fetched: inputs and weights packed, sums of 4 bytes each."""
    bits = 0
    for gemm, counters in layers:
        weights, inputs = widths[gemm.name]
        bits += counters.input_fetches * inputs + counters.weight_fetches * weights
        bits += 32 * (counters.sum_reads + counters.sum_writes)
    return -(-bits // 8)


def _verdict(rows: list[bool | None]) -> bool | None:
    """Whether all that was stepped holds; None if nothing was."""
    stepped = [holds for holds in rows if holds is not None]
    return all(stepped) if stepped else None


def _figures(counters: Counters, images: int, clock_mhz: float) -> dict[str, Any]:
    per_image = counters.cycles / images
    return {
        "cycles": counters.cycles,
        "cycles_per_image": per_image,
        "images_per_s": clock_mhz * 1e6 / per_image,
        "utilization": counters.utilization,
        "macs": counters.macs,
        **{name: getattr(counters, name) for name in FETCHES},
    }
