"""A network from wherever the user has it: its layers as the cost models take them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accel.design_commands import Source
from configs.errors import InputError


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
            left = (f"{count} x {kind}" for kind, count in found.not_counted.items())
            print(f"not counted: {', '.join(left)}", file=sys.stderr)
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


def title(source: Source) -> str:
    """A short name of the network, fit for a folder."""
    _, value = source.require()
    return Path(value).stem if Path(value).suffix else Path(value).name


def preset_of(name: str, dram_pj_per_bit: float | None) -> Any:
    """The energy table of that name or file, with a DRAM of the user's if one is given."""
    from accel.cost import energy_file
    from accel.cost.preset import with_dram

    preset = energy_file.resolve(name)
    return preset if dram_pj_per_bit is None else with_dram(preset, dram_pj_per_bit)


def refuse_there(out: Path, files: Sequence[str], overwrite: bool) -> None:
    """Refuses a folder that holds one of these files, unless they are to be replaced."""
    if out.exists() and not out.is_dir():
        raise InputError(f"`--out` (={out}) must be a folder, and is a file; name another.")
    there = [name for name in files if (out / name).exists()]
    if there and not overwrite:
        raise InputError(
            f"`--out` (={out}) already holds {there[0]}; replace it with --overwrite, or "
            f"name another folder with --out."
        )
