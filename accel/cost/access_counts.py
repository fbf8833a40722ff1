"""What moves on the chip while an array works, from what it counted: the rule, once.

Every multiplication takes each of its operands from exactly one place: the register that
holds it, the neighbour that had it before (a hop), or a buffer, at the edge of the array.
A weight-stationary array holds weights, an input-stationary one inputs; every other
machine holds sums, which are read and written as often as they are added to, 4 bytes each
way: at every multiplication by one multiplier and by an output-stationary array, once a
slice of K behind an adder tree. A tile machine that uses up its inputs first holds none:
its sums are in the buffer. A wire to several multipliers counts as a hop to each but one.

Every sum that leaves the array is written to the sum buffer, 4 bytes; it is read there
once more, to be added to or, when it is finished, to become one byte of output, which goes
to DRAM or, where the map is kept on the chip, to the activation buffer.
"""

from __future__ import annotations

from typing import Any, Literal

from accel.cost.reference import SUM_BYTES
from accel.cost.traffic import Traffic
from accel.machines.counters import Count, Counters
from accel.machines.machine import Direct, Dot, Mac, Machine, Systolic, Tile
from accel.predict.closed_forms import Size, ceil_divide, larger
from accel.workload.layer import BYTES, Bits, packed
from configs.errors import unknown

Held = Literal["inputs", "weights", "sums"]

NOT_COUNTED = (
    "Held operands on their way into the array, finished sums of an output-stationary "
    "array on their way out, registers of processing elements without a useful "
    "multiplication, and those between the levels of an adder tree.",
)


def held(machine: Machine) -> Held:
    """The operand that stays at its multiplier."""
    if isinstance(machine, Systolic):
        return {"ws": "weights", "is": "inputs", "os": "sums"}[machine.dataflow]
    if isinstance(machine, Direct):
        return "weights"
    if isinstance(machine, Mac | Dot | Tile):
        return "sums"
    raise unknown(machine, "accel.cost.access_counts")


def accumulations(
    machine: Machine, *, macs: Count, sums: Count, K: tuple[Size, Size, Size]
) -> Count:
    """How often held sums are added to, for ints or int64 arrays.

    Args:
      K: blocks of K, terms of a block, and of the last one.
    """
    match machine:
        case Tile(loop="inputs"):
            return 0
        case Tile() | Dot():
            depth = machine.inputs if isinstance(machine, Tile) else machine.multipliers
            blocks, size, last = K
            slices = (blocks - 1) * ceil_divide(size, depth) + ceil_divide(last, depth)
            return sums * slices
        case Systolic() | Mac() | Direct():
            return macs
    raise unknown(machine, "accel.cost.access_counts")


def moved(
    counted: Counters,
    dram: Any,
    *,
    sums: Count,
    held: Held,
    added: Count | None = None,
    bits: Bits = BYTES,
) -> Traffic:
    """Bytes at every place, for ints or int64 arrays.

    Args:
      counted: by the array, all blocks together; every slice of K puts out all its sums.
      dram: `Totals` or `Walked`, of which the bytes to and from DRAM are taken.
      sums: M * N, finished sums.
      held: as `held` says of the machine.
      added: how often held sums are added to; None: at every multiplication.
      bits: widths; all that one place moves in one repeat of a layer is packed.
    """
    macs = counted.macs
    # Sums that a later slice of K begins with.
    later = counted.output_writes - sums
    out = counted.sum_writes + counted.output_writes
    inputs, weights = macs - counted.input_fetches, macs - counted.weight_fetches
    chains = SUM_BYTES * (macs - out)
    # 1 where the output stays on the chip.
    stays = larger(1 - dram.dram_outputs, 0)
    return Traffic(
        dram_inputs=dram.dram_inputs,
        dram_weights=dram.dram_weights,
        dram_sum_reads=dram.dram_sums_read,
        dram_sum_writes=dram.dram_sums_written,
        dram_outputs=dram.dram_outputs,
        fill_inputs=dram.dram_inputs,
        fill_weights=dram.dram_weights,
        fill_sums=dram.dram_sums_read,
        drain_sums=dram.dram_sums_written,
        buffer_inputs=packed(bits.inputs, counted.input_fetches),
        buffer_weights=packed(bits.weights, counted.weight_fetches),
        buffer_sum_reads=SUM_BYTES * (counted.sum_reads + later + sums),
        buffer_sum_writes=SUM_BYTES * out,
        buffer_outputs=stays * packed(bits.outputs, sums),
        register_inputs=packed(bits.inputs, macs) if held == "inputs" else 0,
        register_weights=packed(bits.weights, macs) if held == "weights" else 0,
        register_sums=(
            2 * SUM_BYTES * (macs if added is None else added) if held == "sums" else 0
        ),
        hop_inputs=0 if held == "inputs" else packed(bits.inputs, inputs),
        hop_weights=0 if held == "weights" else packed(bits.weights, weights),
        hop_sums=0 if held == "sums" else chains,
    )
