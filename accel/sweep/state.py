"""Where a sweep stands, and the file from which an interrupted one goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accel.cost.energy_table import EnergyTable
from accel.sweep.front import Front, empty
from accel.sweep.metrics import HEAT, METRICS
from accel.sweep.space import Space
from accel.workload.layer import LayerWorkload
from configs.errors import InputError
from train.rundir import write_bytes

# Changes with the meaning of the file or of the numbers in it.
_FORMAT = 2


def identity(
    works: Sequence[LayerWorkload], space: Space, preset: EnergyTable, names: Sequence[str]
) -> str:
    """SHA-256 of everything that the result of a sweep depends on."""
    parts = {
        "format": _FORMAT,
        "works": [dataclasses.asdict(work) for work in works],
        "space": dataclasses.asdict(space),
        "preset": dataclasses.asdict(preset),
        "objectives": list(names),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass
class State:
    """What a sweep has found so far. Its size does not depend on that of the space, but
    for one number per array in each heat map."""

    # Units done; all before this one.
    position: int
    front: Front
    # Smallest value of every metric, and the unit and buffers that have it; [METRICS].
    least: np.ndarray
    unit: np.ndarray
    row: np.ndarray
    # Best value of each array, [HEAT, arrays]; infinite if it has no legal design.
    heat: np.ndarray
    # Designs evaluated that have a mapping for every layer.
    legal: int

    @staticmethod
    def begin(space: Space) -> State:
        none = np.full(len(METRICS), -1)
        return State(
            position=0,
            front=empty(),
            least=np.full(len(METRICS), np.inf),
            unit=none,
            row=none.copy(),
            heat=np.full((len(HEAT), space.arrays), np.inf),
            legal=0,
        )


def save(path: Path, state: State, key: str) -> None:
    """Writes the state whole or not at all."""
    content = io.BytesIO()
    fields = {k: v for k, v in vars(state).items() if k != "front"}
    np.savez(
        content,
        key=np.array(key),
        front_index=state.front.index,
        front_values=state.front.values,
        **fields,
    )
    write_bytes(path, content.getvalue())


def load(path: Path, key: str) -> State:
    """The state of a sweep that was interrupted.

    Raises:
      InputError: the file is damaged, or belongs to another sweep.
    """
    try:
        content = io.BytesIO(path.read_bytes())
        with np.load(content, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
        known = str(fields.pop("key"))
        front = Front(fields.pop("front_index"), fields.pop("front_values"))
        numbers = {name: int(fields.pop(name)) for name in ("position", "legal")}
        state = State(front=front, **numbers, **fields)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"`{path}` is no state of a sweep; delete it to begin anew."
        ) from None
    if known != key:
        raise InputError(
            f"`{path}` belongs to another sweep (network, space, energies or objectives "
            f"differ); delete it to begin anew, or restore what it began with."
        )
    return state
