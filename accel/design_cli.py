"""What `python -m accel cost`, `sweep` and `tpu` do, once they are known to be right."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accel.design_commands import Source, Tpu
from configs.errors import InputError
from train.cli import stdout_kept_clean


@contextmanager
def images_shown() -> Iterator[Any]:
    """A bar of images, as that of `accel.summary.Cycles`."""
    from accel.summary import Cycles

    with stdout_kept_clean(), Cycles("images") as shown:
        yield shown


def tpu(command: Tpu, words: str) -> int:
    """Executes a run, explains a network, or stands by the paper."""
    from accel.tpu.machine import TpuMachine

    chosen = command.source.given()
    rate = command.weight_mb_per_s
    given = {} if rate is None else {"weight_bandwidth": rate * 10**6}
    machine = TpuMachine(side=command.side, clock_hz=command.clock_mhz * 10**6, **given)
    _refuse_file(command.assembly, command.overwrite)
    if chosen and chosen[0] == "run":
        return _tpu_run(command, Path(chosen[1]), machine, words)
    if chosen is None and command.workload is None:
        return _tpu_paper(command)
    return _tpu_explained(command, machine)


def _tpu_run(command: Tpu, folder: Path, machine: Any, words: str) -> int:
    from accel.tpu.stage import ASSEMBLY, FILE, run_tpu
    from accel.tpu.summary import print_execution

    with images_shown() as shown:
        found = run_tpu(
            folder,
            machine,
            images=None if command.images == "all" else command.images,
            batch=command.batch or 100,
            command=words,
            overwrite=command.overwrite,
            begin=lambda images: shown.begin(machine.name, images),
            done=shown.done,
        )
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_execution(found)
        place = folder / "accel" / machine.name
        print(f"\nwritten  {place}/{FILE}, {ASSEMBLY}")
    return 0 if found["verified"] else 1


def _tpu_paper(command: Tpu) -> int:
    from accel.tpu.explain import balance
    from accel.tpu.figures import figures
    from accel.tpu.machine import TpuMachine
    from accel.tpu.summary import print_figures
    from configs.registry import load_network
    from train.progress import Display

    _refuse_changes(command)
    with stdout_kept_clean():
        Display().say("the six applications of the TPU paper: about 10 s")
        vgg16 = load_network("vgg16")
        found = figures()
        found["vgg16"] = balance(vgg16.weights, vgg16.macs, TpuMachine())
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_figures(found)
    return 0


def _refuse_changes(command: Tpu) -> None:
    """Options that need a network."""
    for flag, default in (
        ("batch", None),
        ("weight_mb_per_s", None),
        ("side", 256),
        ("clock_mhz", 700),
        ("assembly", None),
    ):
        value = getattr(command, flag)
        if value != default:
            raise InputError(
                f"`--{flag.replace('_', '-')}` (={value}) needs a network; give "
                f"--workload, --run, --config, --topology or --onnx."
            )


def _tpu_explained(command: Tpu, machine: Any) -> int:
    from dataclasses import replace

    from accel.tpu import explain, fit, latency, paper
    from accel.tpu.shown import show, show_response

    app = paper.app(command.workload) if command.workload else None
    if app is not None and command.weight_mb_per_s is None:
        machine = replace(machine, weight_bandwidth=fit.effective_bandwidth().value)
    with stdout_kept_clean():
        subject, batch = _subject(command, app)
        found = explain.explain(subject, batch, machine)
        placed = app is not None or command.source.config is not None
        if placed:
            found["latency"] = explain.respond(subject, batch, machine, load=latency.LOAD)
        if command.assembly:
            _write_assembly(command, subject, batch, machine, app)
    if command.json:
        print(json.dumps(found, sort_keys=True))
        return 0
    show(found)
    if placed:
        print()
        show_response(found["latency"])
    if command.assembly:
        print(f"\nwritten  {command.assembly}")
    return 0


def _subject(command: Tpu, app: Any) -> tuple[Any, int]:
    """What to explain, and for which batch."""
    if app is not None:
        return app, command.batch or app.batch.value
    batch = command.batch or 1
    kind, value = command.source.require()
    if kind == "config":
        from configs.registry import load_network

        return load_network(value), batch
    from accel.gemm import Gemm

    return [
        Gemm(w.name, w.images, w.positions, w.K, w.N, repeats=w.repeats)
        for w in works_of(command.source, batch)
    ], batch


def _write_assembly(command: Tpu, subject: Any, batch: int, machine: Any, app: Any) -> None:
    from accel.tpu.assembler import disassemble
    from accel.tpu.compiler import compile_shapes
    from configs.registry import load_network
    from train import rundir

    shapes = load_network(app.config) if app else subject
    speed = app.speed.value if app else 1
    program = compile_shapes(shapes, batch, machine, speed=speed)
    with named("assembly", command.assembly):
        rundir.write_bytes(
            Path(command.assembly), disassemble(program.instructions).encode()
        )


def works_of(source: Source, images: int) -> list[Any]:
    """The layers of a network for some images, wherever it comes from."""
    kind, value = source.require()
    if kind == "topology":
        from accel.imports import topology

        return topology.load(Path(value), images=images)
    if kind == "onnx":
        from accel.imports import onnx_shapes

        found = onnx_shapes.load(Path(value), images=images)
        if found.not_counted:
            print(f"not counted: {', '.join(found.not_counted)}", file=sys.stderr)
        return found.works
    from accel.cost.works import works

    return works(network_of(kind, value), images)


def network_of(kind: str, value: str) -> Any:
    """The spec of a run, or of a config."""
    if kind == "run":
        from train import rundir

        return rundir.read_config(Path(value)).network
    from configs.registry import load_network

    return load_network(value)


@contextmanager
def named(flag: str, value: str) -> Iterator[None]:
    """What cannot be written is said of the flag that names it."""
    try:
        yield
    except InputError as error:
        if error.__cause__ is None:
            raise
        raise InputError(
            f"`--{flag}` (={value}) cannot be written: {error.__cause__}; choose another "
            f"place with --{flag}."
        ) from error


def _refuse_file(value: str | None, overwrite: bool) -> None:
    if value is None:
        return
    if Path(value).is_dir():
        raise InputError(
            f"`--assembly` (={value}) must be a file, and is a folder; name another."
        )
    if Path(value).exists() and not overwrite:
        raise InputError(f"`--assembly` (={value}) exists; replace it with --overwrite.")
