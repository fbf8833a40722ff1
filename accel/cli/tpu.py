"""What `python -m accel tpu` does, once it is known to be right."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from accel.cli.design_options import Tpu
from accel.cli.output import named, working
from accel.tpu.isa.compiler import compile_network, compile_shapes
from accel.tpu.isa.program import Program
from accel.tpu.machine import TpuMachine
from accel.workload.source import network_of, workload_of
from configs.errors import InputError
from quant.network import IntNetwork
from train.console import stdout_kept_clean

# Random ones that are held at a time, a byte each.
_MOST_PIXELS = 1 << 28


def command(asked: Tpu, words: str) -> int:
    """Executes a run, explains a network, or stands by the paper."""
    chosen = asked.source.given()
    rate = asked.weight_mb_per_s
    given = {} if rate is None else {"weight_bandwidth": rate * 10**6}
    machine = TpuMachine(side=asked.side, clock_hz=asked.clock_mhz * 10**6, **given)
    _refuse_file(asked.assembly, asked.overwrite)
    if chosen and chosen[0] == "run":
        return _tpu_run(asked, Path(chosen[1]), machine, words)
    if chosen is None and asked.workload is None:
        return _tpu_paper(asked)
    if asked.markdown:
        raise InputError(
            "`--markdown` (=True) is of the paper's applications; name no network with it."
        )
    if chosen and chosen[0] == "onnx":
        network = _integers(Path(chosen[1]))
        if network is not None:
            return _tpu_pixels(asked, network, machine)
    return _tpu_explained(asked, machine)


def _tpu_run(asked: Tpu, folder: Path, machine: TpuMachine, words: str) -> int:
    from accel.cli.print_array import Cycles
    from accel.cli.print_tpu import print_execution
    from accel.cli.print_tpu_tables import show_response
    from accel.tpu.stage import ASSEMBLY, FILE, run_tpu

    if asked.assembly:
        raise InputError(
            f"`--assembly` (={asked.assembly}) must be left out with --run: the program is "
            f"written beside the result."
        )
    with stdout_kept_clean(), Cycles("images") as shown:
        found = run_tpu(
            folder,
            machine,
            images=None if asked.images == "all" else asked.images,
            where=asked.data,
            batch=asked.batch or 100,
            command=words,
            overwrite=asked.overwrite,
            begin=lambda images: shown.begin(machine.name, images),
            done=shown.done,
        )
    if asked.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_execution(found)
        print()
        show_response(found["latency"])
        place = folder / "accel" / machine.name
        print(f"\nwritten  {place}/{FILE}, {ASSEMBLY}")
    return 0 if found["verified"] else 1


def _integers(path: Path) -> IntNetwork | None:
    """The integers of a file that our exporter wrote; of any other file None, and why."""
    from accel.workload import lockstep_onnx

    try:
        return lockstep_onnx.load(path)
    except InputError as error:
        print(f"shapes only, no integers: {error}", file=sys.stderr)
        return None


def _tpu_pixels(asked: Tpu, network: IntNetwork, machine: TpuMachine) -> int:
    """Executes a network that came without data on random pixels."""
    import numpy as np

    from accel.cli.print_array import Cycles
    from accel.cli.print_tpu import print_execution
    from accel.tpu.sim.execution import executed
    from accel.verify.quantised_run import QuantisedRun

    if asked.images == "all":
        raise InputError(
            "`--images` (=all) needs a data set, which an ONNX file has none of; give a "
            "number of images."
        )
    shape = (asked.images, *network.network.input_shape)
    if prod(shape) > _MOST_PIXELS:
        raise InputError(
            f"`--images` (={asked.images}) must have at most {_MOST_PIXELS:,} pixels "
            f"together; use {_MOST_PIXELS // prod(shape[1:]):,} or fewer."
        )
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    name = Path(asked.source.onnx).stem
    given = QuantisedRun(name, network, "", pixels, None, {"name": "random pixels, seed 0"})
    with stdout_kept_clean(), Cycles("images") as shown:
        shown.begin(machine.name, asked.images)
        batch = min(asked.batch or 100, asked.images)
        found = executed(given, batch, machine, done=shown.done)
    found |= {"machine": {**vars(machine), "name": machine.name}, "dataset": given.dataset}
    if asked.assembly:
        _write_text(asked.assembly, compile_network(network, batch, machine))
    if asked.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_execution(found)
    return 0 if found["verified"] else 1


def _tpu_paper(asked: Tpu) -> int:
    from accel.cli.print_tpu import print_figures
    from accel.tpu.explain import balance
    from accel.tpu.paper.figures import figures
    from configs.registry import load_network
    from train.progress import Display

    _refuse_changes(asked)
    if asked.markdown:
        from accel.cli.print_tpu_tables import markdown
        from accel.tpu.paper import calibration, paper

        machine = calibration.fitted_machine()
        print(markdown([calibration.predict(app, machine) for app in paper.APPS]), end="")
        return 0
    _refuse_images(asked)
    with stdout_kept_clean():
        Display().say("the six applications of the TPU paper: about 10 s")
        vgg16 = load_network("vgg16")
        found = figures()
        found["vgg16"] = balance(vgg16.weights, vgg16.macs, TpuMachine())
    if asked.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_figures(found)
    return 0


def _refuse_changes(asked: Tpu) -> None:
    """Options that need a network."""
    for flag, default in (
        ("batch", None),
        ("weight_mb_per_s", None),
        ("side", 256),
        ("clock_mhz", 700),
        ("assembly", None),
    ):
        value = getattr(asked, flag)
        if value != default:
            raise InputError(
                f"`--{flag.replace('_', '-')}` (={value}) needs a network; give "
                f"--workload, --run, --config, --topology or --onnx."
            )


def _refuse_images(asked: Tpu) -> None:
    """Images are for what is executed."""
    if asked.images != 100:
        raise InputError(
            f"`--images` (={asked.images}) needs a network that is executed; give --run, "
            f"or an --onnx file that quant wrote, or leave it out and use --batch."
        )


def _tpu_explained(asked: Tpu, machine: TpuMachine) -> int:
    from accel.cli.print_tpu_tables import show, show_response
    from accel.tpu import explain
    from accel.tpu.paper import calibration, latency, paper

    _refuse_images(asked)
    app = paper.app(asked.workload) if asked.workload else None
    if app is not None and asked.weight_mb_per_s is None:
        machine = replace(machine, weight_bandwidth=calibration.effective_bandwidth().value)
    with stdout_kept_clean(), working("timing the TPU"):
        subject, batch = _subject(asked, app)
        found = explain.explain(subject, batch, machine)
        placed = app is not None or asked.source.config is not None
        if placed:
            found["latency"] = explain.respond(subject, batch, machine, load=latency.LOAD)
        if asked.assembly:
            _write_assembly(asked, subject, batch, machine, app)
    if asked.json:
        print(json.dumps(found, sort_keys=True))
        return 0
    show(found)
    if placed:
        print()
        show_response(found["latency"])
    if asked.assembly:
        print(f"\nwritten  {asked.assembly}")
    return 0


def _subject(asked: Tpu, app: Any) -> tuple[Any, int]:
    """What to explain, and for which batch."""
    if app is not None:
        return app, asked.batch or app.batch.value
    batch = asked.batch or 1
    kind, value = asked.source.require()
    if kind == "config":
        return network_of(kind, value), batch
    return [_product(work, batch) for work in workload_of(asked.source, batch).works], batch


def _product(work: Any, batch: int) -> Any:
    """A work as the product of a batch: its rows are those of all inferences together."""
    from accel.workload.gemm import Gemm

    positions, rest = divmod(work.M, batch)
    if rest:
        raise InputError(
            f"`--batch` (={batch}) does not divide the {work.M} rows of {work.name}; use a "
            f"batch that does, such as 1."
        )
    return Gemm(work.name, batch, positions, work.K, work.N, repeats=work.repeats)


def _write_assembly(
    asked: Tpu, subject: Any, batch: int, machine: TpuMachine, app: Any
) -> None:
    from configs.registry import load_network

    shapes = load_network(app.config) if app else subject
    speed = app.speed.value if app else 1
    _write_text(asked.assembly, compile_shapes(shapes, batch, machine, speed=speed))


def _write_text(path: str, program: Program) -> None:
    from accel.tpu.isa.assembler import disassemble
    from train import rundir

    with named("assembly", path):
        rundir.write_bytes(Path(path), disassemble(program.instructions).encode())


def _refuse_file(value: str | None, overwrite: bool) -> None:
    if value is None:
        return
    if Path(value).is_dir():
        raise InputError(
            f"`--assembly` (={value}) must be a file, and is a folder; name another."
        )
    if Path(value).exists() and not overwrite:
        raise InputError(f"`--assembly` (={value}) exists; replace it with --overwrite.")
