"""A network from wherever the user has it: its layers as the cost models take them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from accel.design_commands import Source
from configs.errors import InputError

# Sizes beyond it have too many divisors and multiples to try as blocks.
_LARGEST_SIZE = 1 << 20


def workload_of(source: Source, images: int) -> Any:
    """The products of a network for a batch, as a `Workload`, wherever it comes from.

    Raises:
      InputError: there is no such network, or it has a layer too large to be mapped.
    """
    from accel.imports.outside import require_countable

    found = _workload(source, images)
    for work in found.works:
        require_countable(work, f"`{work.name}`")
        for name in ("images", "out_rows", "K", "N"):
            size = getattr(work, name)
            if size > _LARGEST_SIZE:
                raise InputError(
                    f"`{name}` (={size}) of {work.name} must be at most "
                    f"{_LARGEST_SIZE:,}; use a smaller --batch, or cut the layer into "
                    f"several."
                )
    return found


def _workload(source: Source, images: int) -> Any:
    kind, value = source.require()
    if kind == "topology":
        from accel.imports import topology

        return topology.workload(Path(value), images=images)
    if kind == "onnx":
        from accel.imports import onnx_shapes

        return onnx_shapes.load(Path(value), images=images, sizes=source.sizes)
    from accel.cost.works import workload

    return workload(network_of(kind, value), images)


def narrowed(asked: Any, workload: Any) -> Any:
    """The workload of a command with the widths of its options, or of its run."""
    from accel.cost import widths

    kind, value = asked.source.require()
    return widths.narrowed(
        workload,
        Path(value) if kind == "run" else None,
        weight_bits=asked.weight_bits,
        activation_bits=asked.activation_bits,
    )


def network_of(kind: str, value: str) -> Any:
    """The spec of a run, or of a config."""
    if kind == "run":
        from train import rundir

        return rundir.read_config(Path(value)).network
    from configs.registry import load_network

    return load_network(value)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Says on a terminal what is going on; on stderr, so that stdout is for results."""
    from rich.console import Console

    shown = Console(stderr=True)
    if not shown.is_terminal:
        yield
        return
    with shown.status(text):
        yield


@contextmanager
def named(flag: str, value: str) -> Iterator[None]:
    """What cannot be written is said of the flag that names it."""
    try:
        yield
    except InputError as error:
        if error.__cause__ is None:
            raise
        # The system's words alone: its file may be a temporary one.
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise InputError(
            f"`--{flag}` (={value}) cannot be written: {reason}; choose another place "
            f"with --{flag}."
        ) from error


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A folder for files that take the place of those in `out` when all are written.

    What fails before leaves `out` as it is.
    """
    from train import rundir

    new, there = out / ".new", out.exists()
    with rundir.writing(out):
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            yield new
            # JSON stands for a result that is complete.
            for path in sorted(new.iterdir(), key=lambda path: path.suffix == ".json"):
                os.replace(path, out / path.name)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            if not there:
                with suppress(OSError):
                    out.rmdir()
            raise
        new.rmdir()


def title(source: Source) -> str:
    """A short name of the network, fit for a folder."""
    _, value = source.require()
    return Path(value).stem if Path(value).suffix else Path(value).name


def preset_of(
    name: str, dram_pj_per_bit: float | None, static_w: float | None = None
) -> Any:
    """The energy table of that name or file, with the user's DRAM and static power if they
    are given."""
    from accel.cost import energy_file
    from accel.cost.preset import with_dram, with_static

    preset = energy_file.resolve(name)
    if dram_pj_per_bit is not None:
        preset = with_dram(preset, dram_pj_per_bit)
    return preset if static_w is None else with_static(preset, static_w)


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
