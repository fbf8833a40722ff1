"""What the stages' probes of robustness found, for the report's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from train.probe import table


def section(found: Mapping[str, Any]) -> dict[str, Any]:
    """Networks, lines (what, how, images, a share for each network, whether it is the
    headline) and flags of one probes.json that `table.check` has passed."""
    models = list(found["models"])
    lines = [line for part in table.lines(found) for line in part]
    return {
        "models": models,
        "lines": [
            {
                "what": line.what,
                "how": line.how,
                "n": line.n,
                "shares": line.shares(models),
                "bold": line.bold,
            }
            for line in lines
        ],
        "flags": [f"{flag.get('model')}: {flag.get('flag')}" for flag in found["flags"]],
    }
