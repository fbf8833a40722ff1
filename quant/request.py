"""What a quantisation was asked for: kept, so that `--resume` alone asks for the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs import stored
from configs.checks import check_types, field_types
from configs.errors import InputError
from quant.exports import FormatName
from quant.manifest import require_fields
from quant.settings import Quantization
from quant.untrusted import read_json, refusal
from train import rundir

FILE = "settings.json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """Settings, and which files are wanted."""

    settings: Quantization
    formats: tuple[FormatName, ...]
    golden_images: int

    def __post_init__(self) -> None:
        check_types(self)


def write(folder: Path, request: Request) -> None:
    rundir.write_json(folder / FILE, stored.to_dict(request))


def read(folder: Path) -> Request | None:
    """What `write` stored; None if nothing was begun.

    Raises:
      InputError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    _, value = read_json(folder, FILE)
    require_fields(value, tuple(field_types(Request)), str(path))
    settings = value["settings"]
    require_fields(settings, tuple(field_types(Quantization)), f"{path}.settings")
    try:
        settings = Quantization(**_with_tuples(settings))
        return Request(**_with_tuples({**value, "settings": settings}))
    except InputError as error:
        raise refusal(path, f"cannot be used: {error}") from None


def _with_tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
