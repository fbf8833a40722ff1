"""The lecture's "a DRAM access costs about 100 times as much", from the presets."""

from __future__ import annotations

from typing import NamedTuple

from accel.cost import published_energies as published
from accel.cost.energy_table import EnergyTable
from accel.cost.units import exact, plain
from accel.machines.provenance import Provenance

# The lecture compares accesses of one 32-bit word.
_WORD_BYTES = 4


class DramRatio(NamedTuple):
    """Energies in the preset's unit, and what a byte or word from DRAM is of each."""

    # Of one word of 32 bits: from DRAM, from the smallest SRAM of the table.
    dram_word: float
    sram_word: float
    sram_bytes: int
    # Of one byte.
    dram_byte: float
    sram_byte: float
    # DRAM over SRAM: the same per word and per byte.
    ratio: float
    # One int8 MAC with an int32 sum, and how many of them a byte from DRAM costs.
    mac: float
    macs_per_byte: float
    # The same with an 8-bit add, where the preset knows it.
    narrow_macs_per_byte: float | None


def dram_ratio(preset: EnergyTable) -> DramRatio:
    """Energy of DRAM against the smallest SRAM of the table and against one MAC.

    At 45 nm: 640 pJ / 5 pJ = 128 for a word of 32 bits, and 160 pJ / 1.25 pJ for a byte.
    """
    sram_bytes, point = min(preset.sram, key=lambda size_number: size_number[0])
    dram, sram, mac = preset.dram_per_byte, exact(point.value), exact(preset.mac.value)
    narrow = preset.narrow_mac
    narrow_macs = plain(dram / exact(narrow.value)) if narrow else None
    return DramRatio(
        dram_word=plain(dram * _WORD_BYTES),
        sram_word=plain(sram * _WORD_BYTES),
        sram_bytes=sram_bytes,
        dram_byte=plain(dram),
        sram_byte=plain(sram),
        ratio=plain(dram / sram),
        mac=plain(mac),
        macs_per_byte=plain(dram / mac),
        narrow_macs_per_byte=narrow_macs,
    )


def explain(preset: EnergyTable) -> str:
    """The ratio in words: per word, per byte, and against one multiply-accumulate."""
    found, unit = dram_ratio(preset), preset.unit
    lines = [
        f"{preset.title}.",
        f"A 32-bit word costs {found.dram_word:g} {unit} from DRAM and {found.sram_word:g} "
        f"{unit} from an SRAM of {_size(found.sram_bytes)}: {found.ratio:.3g} times.",
        f"A byte costs {found.dram_byte:g} {unit} and {found.sram_byte:g} {unit}: the same "
        f"{found.ratio:.3g} times, since both count the bits that move.",
        f"One multiply-accumulate costs {found.mac:g} {unit}: a byte from DRAM pays for "
        f"{found.macs_per_byte:.0f} of them.",
    ]
    if found.narrow_macs_per_byte is not None:
        lines.append(
            f"With an add of 8 bits instead of 32 it pays for "
            f"{found.narrow_macs_per_byte:.0f}: a ratio per byte must say which it means."
        )
    return "\n".join(lines)


def memories_7nm() -> dict[str, tuple[float, float]]:
    """DRAM over an 8 KB SRAM at 7 nm, 64-bit accesses, from .. to, by kind of DRAM."""
    sram = exact(published.SRAM_7NM[8 * published.KB].value)

    def over(number: Provenance) -> float:
        return plain(exact(number.value) / sram)

    return {kind: (over(a), over(b)) for kind, (a, b) in published.DRAM_7NM.items()}


def _size(capacity: int) -> str:
    return (
        f"{capacity // published.KB} KB"
        if capacity % published.KB == 0
        else f"{capacity} B"
    )
