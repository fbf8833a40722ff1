"""A probe as lines of a table: what was done, how, and a share for every network.

The terminal and the pages of the accelerator draw these. Plain data, no JAX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from configs.errors import InputError

# Angles and shifts of the table; the curves have them all.
_ANGLES = (15, 30, 45, 90, 180)
_SHIFTS = (1, 2, 3, 4)
# What a record of each probe must hold beside its accuracy.
_NEEDED = {
    "clean": (),
    "fgsm": ("eps",),
    "certificate": ("eps",),
    "attack": ("eps", "levels", "attack", "tries", "steps"),
    "headline": ("eps",),
    "l2": ("eps", "attack", "tries", "steps"),
    "rotation": ("angle_deg",),
    "translation": ("axis", "shift_px"),
    "spatial": ("worst_of", "transforms", "limit_deg", "limit_px"),
    "corruption": ("corruption",),
}


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    how: str
    # By network.
    rows: Mapping[str, Mapping[str, Any]]
    # The headline.
    bold: bool = False

    @property
    def n(self) -> int:
        """Images."""
        return next(iter(self.rows.values()))["n"]

    def shares(self, models: Sequence[str]) -> list[str]:
        """Percent for every network, the headline with its interval; "" where none is."""
        return [_share(self.rows.get(model), self.bold) for model in models]


def _line(what: str, how: str, rows: Sequence[dict], *, bold: bool = False) -> Line:
    return Line(what, how, {one["model"]: one for one in rows}, bold)


def check(found: Mapping[str, Any], where: str) -> None:
    """Refuses a probes.json that a table cannot be made of.

    Raises:
      InputError: something is missing or of another type, named with its path.
    """
    shape = {"rows": list, "models": dict, "flags": list}
    for name, kind in shape.items():
        if not isinstance(found.get(name), kind):
            raise _damaged(where, name)
    for number, one in enumerate(found["rows"]):
        probe = one.get("probe") if isinstance(one, dict) else None
        needed = ("model", "n", "accuracy", "accuracy_95", *_NEEDED.get(probe, ()))
        if probe not in _NEEDED or any(name not in one for name in needed):
            raise _damaged(where, f"rows[{number}]")
        low_high = one["accuracy_95"]
        pair = isinstance(low_high, list) and len(low_high) == 2
        numbers = [one["accuracy"], one["n"], *(low_high if pair else [None])]
        numbers += [one[n] for n in needed[4:] if n in ("eps", "angle_deg", "shift_px")]
        if not all(isinstance(value, Real) for value in numbers):
            raise _damaged(where, f"rows[{number}]")


def _damaged(where: str, name: str) -> InputError:
    return InputError(
        f"`{where}`: `{name}` is missing or damaged; probe the run again with --overwrite."
    )


def lines(found: Mapping[str, Any]) -> tuple[list[Line], list[Line]]:
    """The table of attacks (empty without any), and that of all else."""
    rows = found["rows"]
    attacked = any(one["probe"] in ("attack", "l2") for one in rows)
    return (_attacks(rows) if attacked else []), _natural(rows)


def _share(one: Mapping[str, Any] | None, bold: bool) -> str:
    if one is None:
        return ""
    text = f"{100 * one['accuracy']:.1f}"
    if not bold:
        return text
    low, high = one["accuracy_95"]
    return f"{text} ({100 * low:.1f}..{100 * high:.1f})"


def _attacks(rows: Sequence[dict]) -> list[Line]:
    """Accuracy after each attack in its turn, then the headline, for every budget."""
    lines = [_line("clean", "as it is", select(rows, probe="clean"))]
    attacks = select(rows, probe="attack")
    for eps in dict.fromkeys(one["eps"] for one in attacks):
        mine = select(attacks, eps=eps)
        level = mine[0]["levels"]
        for part in _in_turn(mine):
            for name in dict.fromkeys(one["attack"] for one in part):
                for number, each in enumerate(_turns(select(part, attack=name))):
                    again = ", again" if number else ""
                    what = f"eps {eps:g} ({level} levels)  {name}{again}"
                    lines.append(_line(what, _how(each), each))
        head = select(rows, probe="headline", eps=eps)
        what = f"eps {eps:g}  WORST OF ALL"
        lines.append(_line(what, _behind(head), head, bold=True))
        proved = select(rows, probe="certificate", eps=eps)
        if proved:
            what = f"eps {eps:g}  certified"
            lines.append(_line(what, "no attack can go below", proved))
    for one in dict.fromkeys(r["eps"] for r in select(rows, probe="l2")):
        each = select(rows, probe="l2", eps=one)
        lines.append(_line(f"L2 eps {one:g}  {each[0]['attack']}", _how(each), each))
    return lines


def _in_turn(rows: Sequence[dict]) -> tuple[list[dict], list[dict], list[dict]]:
    """Records of transfer before a network's own attacks, of these, and of what came
    after them: shares fall from line to line."""
    before, own, after = [], [], []
    attacked = set()
    for one in rows:
        if not one["attack"].startswith("transfer"):
            attacked.add(one["model"])
            own.append(one)
        else:
            (after if one["model"] in attacked else before).append(one)
    return before, own, after


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


def _how(rows: Sequence[dict]) -> str:
    """Tries that were made, of one network or from the fewest to the most, and how long."""
    if rows[0]["attack"].startswith("transfer"):
        return "its adversarial images"
    tries = _span([one["tries"] for one in rows])
    if tries == "0":
        return "no image left to attack"
    times = "" if tries == "1" else f"{tries} x "
    who = f", nearest {rows[0]['nearest']:,}" if "nearest" in rows[0] else ""
    return f"{times}{rows[0]['steps']:,} evaluations{who}"


def _behind(heads: Sequence[dict]) -> str:
    """How many tries stand behind a headline; records of earlier versions do not say."""
    if not heads or not all("tries" in one for one in heads):
        return "every attack"
    return f"every attack, {_span([one['tries'] for one in heads])} tries"


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _natural(rows: Sequence[dict]) -> list[Line]:
    """What happens to images without an adversary."""
    lines = [
        _line(f"FGSM eps {eps:g}", "1 step", select(rows, probe="fgsm", eps=eps))
        for eps in dict.fromkeys(r["eps"] for r in select(rows, probe="fgsm") if r["eps"])
    ]
    for eps in dict.fromkeys(r["eps"] for r in select(rows, probe="certificate")):
        each = select(rows, probe="certificate", eps=eps)
        lines.append(_line(f"certified eps {eps:g}", "a proof", each))
    for angle in _ANGLES:
        for signed in (angle, -angle) if angle < 180 else (angle,):
            each = select(rows, probe="rotation", angle_deg=float(signed))
            if each:
                lines.append(_line(f"rotated {signed:+d} degrees", "bilinear", each))
    for shift in _SHIFTS:
        each = select(rows, probe="translation", axis="x", shift_px=float(shift))
        if each:
            lines.append(_line(f"shifted {shift} px right", "", each))
    for which in ("random", "worst of 10", "grid"):
        each = select(rows, probe="spatial", worst_of=which)
        if each:
            what = f"rotated and shifted, {which}"
            limits = f"{each[0]['limit_deg']:g} degrees, {each[0]['limit_px']:g} px"
            how = f"{each[0]['transforms']} transforms, {limits}"
            lines.append(_line(what, how, each))
    for name in dict.fromkeys(r["corruption"] for r in select(rows, probe="corruption")):
        each = select(rows, probe="corruption", corruption=name)
        lines.append(_line(name.replace("_", " "), "MNIST-C style", each))
    return lines


def notes(found: dict[str, Any]) -> list[str]:
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
    for model, spread in found.get("seeds", {}).items():
        low, high = min(spread["accuracy"]), max(spread["accuracy"])
        mean = sum(spread["accuracy"]) / len(spread["accuracy"])
        lines.append(
            f"{len(spread['seed'])} seeds, {model} at eps {spread['eps']:g}: mean "
            f"{mean:.1%}, from {low:.1%} to {high:.1%}; all together {spread['union']:.1%}"
        )
    if "differences" in found:
        lines.append(f"images broken for one of the two only: {len(found['differences'])}")
    return lines


def select(rows: Sequence[dict], **wanted: Any) -> list[dict]:
    """The records that have these values, in order."""
    return [
        one
        for one in rows
        if all(name in one and one[name] == value for name, value in wanted.items())
    ]
