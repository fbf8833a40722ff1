"""A sweep as files: the front as CSV and Parquet, everything as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.rundir import write_bytes, write_json


def write(folder: Path, summary: Mapping[str, Any]) -> list[Path]:
    """Writes front.csv, front.parquet and sweep.json; each whole or not at all."""
    paths = [folder / name for name in ("front.csv", "front.parquet", "sweep.json")]
    write_bytes(paths[0], front_csv(summary).encode())
    write_bytes(paths[1], front_parquet(summary))
    write_json(paths[2], dict(summary))
    return paths


def front_csv(summary: Mapping[str, Any]) -> str:
    """A line for each design of the front: where it stands, axes, metrics."""
    text = io.StringIO()
    rows = summary["front"]
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def front_parquet(summary: Mapping[str, Any]) -> bytes:
    """The same; the unit of energy and the preset stand in the metadata of the schema."""
    import pyarrow as pa
    from pyarrow import parquet

    names = ("energy_unit", "preset", "rule", "identity")
    known = {name: str(summary[name]) for name in names}
    table = pa.Table.from_pylist(summary["front"]).replace_schema_metadata(known)
    content = io.BytesIO()
    parquet.write_table(table, content)
    return content.getvalue()
