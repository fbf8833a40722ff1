"""What `python -m accel cost` does, once it is known to be right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from accel.cli.design_options import Changes, Cost, buffer_bytes
from accel.cli.output import named, refuse_there, replaced, working
from accel.cost.cost import cost
from accel.cost.energy_file import energy_table_of
from accel.machines import chip_file
from accel.machines.chips import Chip
from accel.machines.machine import Systolic
from accel.machines.provenance import Provenance
from accel.workload.source import narrowed, title, workload_of
from configs.errors import InputError
from train.console import stdout_kept_clean

FILE, PICTURES = "cost.json", ("roofline.png", "energy.png")
_BUFFERS = ("activation_kib", "weight_kib", "sum_kib")
_ARRAY = ("rows", "cols", "dataflow", "weights")


def command(asked: Cost, words: str) -> int:
    """Computes, prints, and writes if there is a place for it."""
    chip = changed(chip_file.find(asked.machine), asked.changes)
    preset = energy_table_of(
        chip.energy if asked.energy is None else asked.energy,
        asked.dram_pj_per_bit,
        asked.static_w,
    )
    out = Path(asked.out) if asked.out else None
    if out:
        refuse_there(out, (FILE, *PICTURES), asked.overwrite)
    with stdout_kept_clean():
        workload = narrowed(asked, workload_of(asked.source, asked.batch))
        with working(f"mapping {len(workload.works)} layers"):
            how = {"mapping": asked.mapping, "objective": asked.objective}
            found = cost(workload, chip, preset, **how)
        found |= {"name": title(asked.source), "command": words}
        if out:
            _write(out, found)
    if asked.json:
        print(json.dumps(found, sort_keys=True))
        return 0
    from accel.cli.print_cost import print_cost

    print_cost(found)
    if out:
        print(f"\nwritten  {out}/{', '.join((FILE, *PICTURES))}")
    return 0


def changed(chip: Chip, changes: Changes) -> Chip:
    """The machine with what the user gave in place of its own."""
    given = {name: value for name, value in vars(changes).items() if value is not None}
    array = {name: given.pop(name) for name in _ARRAY if name in given}
    if array and not isinstance(chip.machine, Systolic):
        name, value = next(iter(array.items()))
        raise InputError(
            f"`--{name}` (={value}) belongs to a systolic array, and {chip.name} is none; "
            f"leave it out, or choose another --machine."
        )
    memory = {
        name.replace("_kib", "_bytes"): buffer_bytes(name, given.pop(name))
        for name in _BUFFERS
        if name in given
    } | given
    if array.get("dataflow") == "os":
        # Holds no weights, so that there is nothing to load meanwhile.
        array["weights"] = "single"
    if not (array or memory):
        return chip
    sources = {
        name: Provenance(
            value=value,
            unit=chip.sources[name].unit,
            source="given by the user",
            status="assumed",
        )
        for name, value in (array | memory).items()
        if name in chip.sources
    }
    return chip._replace(
        name=f"{chip.name} (changed)",
        machine=replace(chip.machine, **array),
        memory=replace(chip.memory, **memory),
        sources=chip.sources | sources,
    )


def _write(out: Path, found: dict[str, Any]) -> None:
    from accel.cost import plots
    from train import rundir

    with named("out", str(out)), replaced(out) as new:
        plots.draw(new, found)
        rundir.write_json(new / FILE, found)
