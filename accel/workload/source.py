"""A network from wherever the user has it: its layers as the cost models take them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from configs.errors import InputError

_SOURCES = ("config", "run", "topology", "onnx")


@dataclass(frozen=True, kw_only=True)
class Source:
    """The network: exactly one of these."""

    # Name or .py file of an experiment or a network, such as vgg16.
    config: str | None = None
    # Run directory, such as runs/mnist_cnn.
    run: str | None = None
    # SCALE-Sim topology, a .csv file.
    topology: str | None = None
    # ONNX model with known shapes.
    onnx: str | None = None
    # Of an ONNX model: an open size and what it is, such as seq_len=128; repeatable.
    size: tyro.conf.UseAppendAction[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.size and self.onnx is None:
            raise InputError(
                f"`--size` (={self.size[0]}) belongs to an ONNX model; give --onnx, or "
                f"leave it out."
            )
        if self.onnx is not None:
            dict(self.sizes)

    @property
    def sizes(self) -> dict[str, int]:
        """Open sizes by name.

        Raises:
          InputError: one is not written NAME=NUMBER, or named twice.
        """
        found: dict[str, int] = {}
        for text in self.size:
            name, _, number = text.rpartition("=")
            whole = number.isascii() and number.isdigit() and 1 <= len(number) <= 9
            if not name or not whole or int(number) < 1 or name in found:
                raise InputError(
                    f"`--size` (={text}) must be NAME=NUMBER, each name once; write it "
                    f"like seq_len=128."
                )
            found[name] = int(number)
        return found

    def given(self) -> tuple[str, str] | None:
        """Which one, and its value; None if there is none.

        Raises:
          InputError: there are several.
        """
        found = [(n, getattr(self, n)) for n in _SOURCES if getattr(self, n) is not None]
        if len(found) > 1:
            flags = " and ".join(f"`--{name}` (={value})" for name, value in found)
            raise InputError(f"{flags} each name a network; give one of them.")
        return found[0] if found else None

    def require(self) -> tuple[str, str]:
        """The same; refuses none."""
        found = self.given()
        if found is None:
            flags = ", ".join(f"--{name}" for name in _SOURCES)
            raise InputError(f"`--config` is missing; name a network with one of {flags}.")
        return found


# Sizes beyond it have too many divisors and multiples to try as blocks.
_LARGEST_SIZE = 1 << 20


def workload_of(source: Source, images: int) -> Any:
    """The products of a network for a batch, as a `Workload`, wherever it comes from.

    Raises:
      InputError: there is no such network, or it has a layer too large to be mapped.
    """
    from accel.workload.bounds import require_countable

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
        from accel.workload import from_scalesim

        return from_scalesim.workload(Path(value), images=images)
    if kind == "onnx":
        from accel.workload import from_onnx

        return from_onnx.load(Path(value), images=images, sizes=source.sizes)
    from accel.workload.from_network import workload

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


def title(source: Source) -> str:
    """A short name of the network, fit for a folder."""
    _, value = source.require()
    return Path(value).stem if Path(value).suffix else Path(value).name
