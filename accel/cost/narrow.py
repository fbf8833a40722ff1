"""What a multiply-accumulate of narrow numbers costs, from that of 8 bits by a stated rule.

    e(w, a) = e_add + e_multiply * w * a / 64

A multiplier has w * a cells, so that its energy goes with the product of the widths; the
sum is 32 bits wide whatever the factors are. At 8 and 8 bits it is the preset's own MAC.
"""

from __future__ import annotations

from fractions import Fraction

from accel.cost import published_energies as published
from accel.cost.energy import Prices
from accel.cost.energy_table import EnergyTable, thousandths
from accel.cost.units import exact, plain
from accel.machines.provenance import Provenance
from accel.workload.layer import Bits

# Of the table of operations that a preset is made from.
_OPERATIONS = {
    "horowitz_45nm": published.OPERATIONS_45NM,
    "tpuv4i_7nm": published.OPERATIONS_7NM,
}
_RULE = "a multiplier's energy as the product of the widths, a sum of 32 bits"


def mac(preset: EnergyTable, bits: Bits) -> Provenance:
    """Energy of one multiply-accumulate of numbers so wide, with its source and status."""
    if bits.weights == bits.inputs == 8:
        return preset.mac
    share, said = _share(preset)
    cells = Fraction(bits.weights * bits.inputs, 64)
    value = exact(preset.mac.value) * (1 - share + share * cells)
    source = (
        f"{preset.mac.source}; at {bits.weights} x {bits.inputs} bits: {_RULE}, the "
        f"multiplier {float(share):.3g} of the 8-bit MAC as {said}"
    )
    return Provenance(
        value=plain(value), unit=preset.mac.unit, source=source, status="assumed"
    )


def priced(prices: Prices, preset: EnergyTable, bits: Bits) -> Prices:
    """The prices of a layer whose numbers are so wide."""
    return prices._replace(mac=thousandths(exact(mac(preset, bits).value)))


def _share(preset: EnergyTable) -> tuple[Fraction, str]:
    """The multiplier's part of a MAC, and where it comes from."""
    named = preset.name if preset.name in _OPERATIONS else "horowitz_45nm"
    table = _OPERATIONS[named]
    parts = [exact(table[name].value) for name in ("int8_multiply", "int32_add")]
    own = "in its own table" if named == preset.name else f"in {named}"
    return parts[0] / sum(parts), own
