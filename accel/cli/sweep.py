"""What `python -m accel sweep` does, once it is known to be right."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from accel.cli.design_options import Sweep, buffer_bytes
from accel.cli.output import named, refuse_there, replaced
from accel.cost.energy_file import energy_table_of
from accel.machines.memory import KIB
from accel.sweep.front import check_objectives
from accel.sweep.space import FLOWS, Flow, Space, around
from accel.workload.source import narrowed, title, workload_of
from configs.errors import InputError
from train.console import stdout_kept_clean

FILES = ("sweep.json", "front.csv", "front.parquet")
STATE = "state.npz"
_AXES = ("dataflow", "rows", "cols", "dram_mb_per_s", "clock_mhz")
_BUFFERS = ("activation_kib", "weight_kib", "sum_kib")


def command(asked: Sweep, words: str) -> int:
    """Sweeps, refines the named designs, writes and prints."""
    check_objectives(asked.objectives)
    preset = energy_table_of(asked.energy, asked.dram_pj_per_bit)
    out, state = _place(asked)
    workload = narrowed(asked, workload_of(asked.source, asked.batch))
    works = workload.works
    space = space_of(asked, around(works))
    from accel.cli import print_sweep
    from accel.cli.print_array import Cycles
    from accel.sweep import files, plots
    from accel.sweep.refine import ranked, refine, spread
    from accel.sweep.run import sweep
    from train import rundir
    from train.progress import Display

    shown, bar = Display(), Cycles("designs")
    with stdout_kept_clean(), named("out", str(out)), bar:
        if not asked.resume:
            with rundir.writing(state):
                state.unlink(missing_ok=True)
        bar.begin("sweep", space.size)
        try:
            found = sweep(
                works,
                space,
                preset,
                objectives=asked.objectives,
                state_path=state,
                longest_s=asked.longest_s,
                say=shown.say,
                progress=lambda done, size: bar.reached(done),
            )
        except KeyboardInterrupt:
            if state.exists():
                shown.say(f"interrupted: go on with {_again(words)}")
            raise
        found |= {
            "name": title(asked.source),
            "command": words,
            "workload": workload.to_dict(),
        }
        shown.say("mapping the front layer by layer")
        found["refined"] = refine(spread(found), works, space, preset)
        found["ruled"] = found["named"]
        found["named"] = ranked(found)
        _hand_over(found, asked)
        with replaced(out) as new:
            plots.draw(new, found, works, space, preset)
            files.write(new, found)
        state.unlink(missing_ok=True)
    if asked.json:
        print(json.dumps(found, sort_keys=True))
        return 0
    print_sweep.print_sweep(found)
    print(f"written  {out}/{', '.join((*FILES, *plots.NAMES))}")
    return 0


def space_of(asked: Sweep, default: Space) -> Space:
    """The default space with the user's axes."""
    given: dict[str, Any] = {name: getattr(asked, name) for name in _AXES}
    given["dataflow"] = _flows(asked)
    for name in _BUFFERS:
        values = getattr(asked, name)
        axis = None if values is None else tuple(buffer_bytes(name, v) for v in values)
        given[name.replace("_kib", "_bytes")] = axis
    return replace(default, **{n: axis for n, axis in given.items() if axis is not None})


def _flows(asked: Sweep) -> tuple[Flow, ...] | None:
    """Dataflows with every sort of registers that was asked for; os holds sums alone."""
    if asked.dataflow is None and asked.weights is None:
        return None
    flows = [
        flow if kind == "single" else f"{flow}_shadow"
        for kind in asked.weights or ("single", "shadow")
        for flow in asked.dataflow or ("ws", "os", "is")
        if kind == "single" or flow != "os"
    ]
    if not flows:
        raise InputError(
            "`--weights` (=shadow) has no array with `--dataflow` (=os), whose PEs hold "
            "sums and load nothing; add ws or is."
        )
    return tuple(flow for flow in FLOWS if flow in flows)


def _place(asked: Sweep) -> tuple[Path, Path]:
    """Folder of the results and the file of a sweep that is under way."""
    kind, value = asked.source.require()
    if asked.out:
        out = Path(asked.out)
    elif kind == "run":
        out = Path(value) / "accel" / "sweep"
    else:
        out = Path("sweeps") / title(asked.source)
    state = out / STATE
    if asked.resume and asked.overwrite:
        raise InputError("`--resume` goes on and `--overwrite` begins anew; give one.")
    refuse_there(out, FILES, asked.overwrite or asked.resume)
    if asked.resume and not state.exists():
        raise InputError(
            f"`--resume` finds no interrupted sweep in {out}; begin one without it."
        )
    if state.exists() and not (asked.resume or asked.overwrite):
        raise InputError(
            f"`--out` (={out}) holds an interrupted sweep; go on with --resume, or "
            f"begin anew with --overwrite."
        )
    return out, state


def _again(words: str) -> str:
    """The command that goes on with an interrupted one."""
    kept = (w for w in shlex.split(words) if w not in ("--overwrite", "--resume"))
    return f"{shlex.join(kept)} --resume"


def _hand_over(found: dict[str, Any], asked: Sweep) -> None:
    """Gives each named design the commands that take it further, ready to be typed."""
    found["named"] = {
        name: row | _commands(row, asked) for name, row in found["named"].items()
    }


def _commands(row: dict[str, Any], asked: Sweep) -> dict[str, str | None]:
    kind, value = asked.source.require()
    network = f"--{kind} {shlex.quote(value)}"
    dataflow, _, shadow = row["dataflow"].partition("_")
    array = f"--rows {row['rows']} --cols {row['cols']} --dataflow {dataflow}"
    array += f" --weights {shadow or 'single'}"
    clock = f"--batch {asked.batch} --clock-mhz {row['clock_mhz']}"
    widths = "".join(
        f" --{name.replace('_', '-')} {getattr(asked, name)}"
        for name in ("weight_bits", "activation_bits")
        if getattr(asked, name) is not None
    )
    buffers = " ".join(
        f"--{name.replace('_', '-')} {row[name.replace('_kib', '_bytes')] / KIB:.17g}"
        for name in _BUFFERS
    )
    cost = (
        f"python -m accel cost {network} {array} {buffers} "
        f"--dram-mb-per-s {row['dram_mb_per_s']} {clock} {_energies(asked)}{widths}"
    )
    verify = f"python -m accel verify {network} {array} {clock}"
    return {"cost": cost, "verify": verify if kind == "run" else None}


def _energies(asked: Sweep) -> str:
    price = asked.dram_pj_per_bit
    named = f"--energy {shlex.quote(asked.energy)}"
    return named if price is None else f"{named} --dram-pj-per-bit {price!r}"
