"""A run on the TPU: executed, compared, and written to `accel/tpu_<side>x<side>/`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accel.tpu import explain
from accel.tpu.isa.assembler import disassemble
from accel.tpu.isa.compiler import compile_network
from accel.tpu.machine import TpuMachine
from accel.tpu.sim.execution import executed
from accel.verify import quantised_run
from accel.verify.stage import refuse_existing
from train import rundir
from train.versions import versions
from train.where import Where

FILE, ASSEMBLY = "tpu.json", "program.asm"
PACKAGES = ("jax", "jaxlib", "numpy")
NOT_COUNTED = (
    "Issue of instructions: each is handed to its unit at once.",
    "Loading bias, multipliers and tables into the activation unit, once a program.",
    "Anything between batches: each batch is a program of its own, and none overlap.",
)


def run_tpu(
    folder: Path,
    machine: TpuMachine,
    *,
    images: int | None,
    where: Where | None = None,
    batch: int,
    command: str = "",
    overwrite: bool = False,
    begin: Callable[[int], None] = lambda images: None,
    done: Callable[[int], None] = lambda images: None,
) -> dict[str, Any]:
    """Executes the int8 network of a run on the TPU; returns what tpu.json holds.

    Args:
      images: test images; None for all.
      where: the data is now, if not where it was trained on.
      command: what reproduces the result.
      begin, done: told how many images there are, and how many more are done.

    Raises:
      InputError: the run or the machine cannot be used, a result is there, or it cannot
        be written.
    """
    out = folder / "accel" / machine.name
    what = f"a run on {machine.name}"
    refuse_existing(out / FILE, folder, what, overwrite)
    given = quantised_run.load(folder, images, where)
    batch = min(batch, len(given.images))
    program = compile_network(given.network, batch, machine)
    with rundir.lock(out):
        refuse_existing(out / FILE, folder, what, overwrite)
        begin(len(given.images))
        began = time.monotonic()
        found = executed(given, batch, machine, done=done)
        found |= {
            "name": given.name,
            "machine": {**vars(machine), "name": machine.name},
            "instructions": len(program.instructions),
            "weight_tiles": len(program.tiles),
            "latency": explain.respond(given.network.network, batch, machine, whole=True),
            "unified_buffer_bytes": program.unified_buffer_rows * machine.side,
            "network_sha256": given.sha256,
            "dataset": given.dataset,
            "not_counted": list(NOT_COUNTED),
            "wall_s": time.monotonic() - began,
            "versions": versions(PACKAGES),
            "command": command,
        }
        rundir.write_bytes(out / ASSEMBLY, disassemble(program.instructions).encode())
        rundir.write_json(out / FILE, found)
    return found
