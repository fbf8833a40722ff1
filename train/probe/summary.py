"""The tables at the end of a probe: one column a network, the headline in bold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Angles and shifts of the table; the curves have them all.
_ANGLES = (15, 30, 45, 90, 180)
_SHIFTS = (1, 2, 3, 4)


def print_summary(found: dict[str, Any], folder: Path, following: str) -> None:
    """The tables of probes.json `found`, flags, and what was written, on stdout."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    models = list(found["models"])
    if "headline" in found or any(r["probe"] == "attack" for r in found["rows"]):
        console.print(_table(_attacks(found["rows"], models), models))
        console.print()
    console.print(_table(_natural(found["rows"], models), models))
    console.print()
    for line in _notes(found):
        console.print(Text(line))
    console.print(Text(f"gates    {len(found['gates'])} passed", style=""))
    for flag in found["flags"]:
        console.print(Text(f"flag     {flag['model']}: {flag['flag']}"), soft_wrap=True)
    if not found["flags"]:
        console.print(Text("flags    none"))
    pictures = ", ".join(sorted(path.name for path in folder.glob("*.png")))
    console.print(Text(f"time     {found['wall_s']:,.1f} s"))
    console.print(
        Text(f"written  {folder}/probes.json, worst_inputs.npz, {pictures}"), soft_wrap=True
    )
    console.print(Text(f"next     {following}"), soft_wrap=True)


class _Line:
    """One line of a table: what, how, and a share for each model."""

    def __init__(self, what: str, how: str, rows: Sequence[dict], *, bold: bool = False):
        self.what, self.how, self.bold = what, how, bold
        self.rows = {one["model"]: one for one in rows}


def _table(lines: Sequence[_Line], models: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("probe")
    table.add_column("how")
    table.add_column("images", justify="right")
    for model in models:
        table.add_column(f"{model} %", justify="right")
    for line in lines:
        style = "bold" if line.bold else ""
        shares = [_share(line.rows.get(model), line.bold) for model in models]
        n = next((f"{one['n']:,}" for one in line.rows.values()), "")
        table.add_row(Text(line.what), Text(line.how), n, *shares, style=style)
    return table


def _share(one: dict | None, bold: bool) -> str:
    if one is None:
        return ""
    text = f"{100 * one['accuracy']:.1f}"
    if not bold:
        return text
    low, high = one["accuracy_95"]
    return f"{text} ({100 * low:.1f}..{100 * high:.1f})"


def _attacks(rows: Sequence[dict], models: Sequence[str]) -> list[_Line]:
    """Accuracy after each attack in its turn, then the headline, for every budget."""
    lines = [_Line("clean", "as it is", _with(rows, probe="clean"))]
    attacks = _with(rows, probe="attack")
    for eps in dict.fromkeys(one["eps"] for one in attacks):
        mine = _with(attacks, eps=eps)
        level = mine[0]["levels"]
        for name in dict.fromkeys(one["attack"] for one in mine):
            found = _turns(_with(mine, attack=name))
            for number, each in enumerate(found):
                again = ", again" if number else ""
                what = f"eps {eps:g} ({level} levels)  {name}{again}"
                lines.append(_Line(what, _how(each[0]), each))
        head = _with(rows, probe="headline", eps=eps)
        lines.append(_Line(f"eps {eps:g}  WORST OF ALL", "every attack", head, bold=True))
        proved = _with(rows, probe="certificate", eps=eps)
        if proved:
            what = f"eps {eps:g}  certified"
            lines.append(_Line(what, "no attack can go below", proved))
    for one in dict.fromkeys(r["eps"] for r in _with(rows, probe="l2")):
        each = _with(rows, probe="l2", eps=one)
        lines.append(_Line(f"L2 eps {one:g}  {each[0]['attack']}", _how(each[0]), each))
    return lines


def _turns(rows: Sequence[dict]) -> list[list[dict]]:
    """An attack's records, grouped by how often it had its turn with a model."""
    groups: list[list[dict]] = []
    seen: dict[str, int] = {}
    for one in rows:
        turn = seen[one["model"]] = seen.get(one["model"], 0) + 1
        if turn > len(groups):
            groups.append([])
        groups[turn - 1].append(one)
    return groups


def _how(one: dict) -> str:
    if one["attack"].startswith("transfer"):
        return "its adversarial images"
    times = f"{one['tries']} x " if one["tries"] > 1 else ""
    return f"{times}{one['steps']:,} evaluations"


def _natural(rows: Sequence[dict], models: Sequence[str]) -> list[_Line]:
    """What happens to images without an adversary."""
    lines = [
        _Line(f"FGSM eps {eps:g}", "1 step", _with(rows, probe="fgsm", eps=eps))
        for eps in dict.fromkeys(r["eps"] for r in _with(rows, probe="fgsm") if r["eps"])
    ]
    for eps in dict.fromkeys(r["eps"] for r in _with(rows, probe="certificate")):
        each = _with(rows, probe="certificate", eps=eps)
        lines.append(_Line(f"certified eps {eps:g}", "a proof", each))
    for angle in _ANGLES:
        for signed in (angle, -angle) if angle < 180 else (angle,):
            each = _with(rows, probe="rotation", angle_deg=float(signed))
            if each:
                lines.append(_Line(f"rotated {signed:+d} degrees", "bilinear", each))
    for shift in _SHIFTS:
        each = _with(rows, probe="translation", axis="x", shift_px=float(shift))
        if each:
            lines.append(_Line(f"shifted {shift} px right", "", each))
    for which in ("random", "worst of 10", "grid"):
        each = _with(rows, probe="spatial", worst_of=which)
        if each:
            what = f"rotated and shifted, {which}"
            limits = f"{each[0]['limit_deg']:g} degrees, {each[0]['limit_px']:g} px"
            how = f"{each[0]['transforms']} transforms, {limits}"
            lines.append(_Line(what, how, each))
    for name in dict.fromkeys(r["corruption"] for r in _with(rows, probe="corruption")):
        each = _with(rows, probe="corruption", corruption=name)
        lines.append(_Line(name.replace("_", " "), "MNIST-C style", each))
    return lines


def _notes(found: dict[str, Any]) -> list[str]:
    lines = []
    for model, notes in found["notes"].items():
        error = notes.get("corruptions", {}).get("mean_error")
        if error is not None:
            lines.append(f"corruptions, mean error of {model}: {error:.2%}")
        for name, why in notes.get("corruptions", {}).get("left_out", {}).items():
            lines.append(f"left out for {model}: {name} ({why})")
    for pair in found.get("agreement", []):
        lines.append(
            f"on the adversarial images of {pair['on']}, {pair['and']} agrees with it on "
            f"{pair['agree']:,} of {pair['n']:,}"
        )
    if "differences" in found:
        lines.append(f"images broken for one of the two only: {len(found['differences'])}")
    return lines


def _with(rows: Sequence[dict], **wanted: Any) -> list[dict]:
    return [
        one
        for one in rows
        if all(name in one and one[name] == value for name, value in wanted.items())
    ]
