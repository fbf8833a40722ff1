"""The whole probe of one or several networks: every section, the gates, the headline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from train.attack.budget import levels_of
from train.probe import battery, gates, sections
from train.probe.clock import Clock
from train.probe.ledger import Ledger, Part
from train.probe.rows import Contender, Exam, row
from train.probe.settings import Section, Settings
from train.probe.table import select
from train.progress import Display

# Image-steps of an image that is changed without a gradient and judged.
_WARPED = 0.5


class Result(NamedTuple):
    """What a probe found: records for probes.json, and arrays for pictures and .npz."""

    rows: list[dict[str, Any]]
    gates: list[gates.Gate]
    flags: list[dict[str, str]]
    # By contender: what is left at the last budget.
    states: dict[str, battery.State]
    # By contender: `sections.grid`'s arrays.
    worst: dict[str, dict[str, np.ndarray]]
    # By contender: what a section says besides its rows.
    notes: dict[str, dict[str, Any]]
    # By contender: the headline from every seed, if several were asked for.
    seeds: dict[str, dict[str, Any]]


class Suite:
    """A probe of `contenders` on test images; `run()` measures it all."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        test: Exam,
        settings: Settings,
        *,
        ledger: Ledger,
        display: Display,
    ) -> None:
        self.contenders, self.settings, self.ledger = contenders, settings, ledger
        self.test = test
        self.exam = test.first(settings.images)
        self.cheap = test.first(settings.cheap_images)
        self.display = display
        self.rows: list[dict[str, Any]] = []
        self.gates: list[gates.Gate] = []
        self.notes: dict[str, dict[str, Any]] = {c.name: {} for c in contenders}
        self.certified: dict[str, dict[int, np.ndarray]] = {c.name: {} for c in contenders}
        self.worst: dict[str, dict[str, np.ndarray]] = {}

    def run(self) -> Result:
        """Measures every section that was asked for.

        Raises:
          RefusedError: a gate failed.
        """
        self.clock = Clock(self.display, self._planned())
        self.rows += [sections.clean(one, self.test) for one in self.contenders]
        states: dict[str, battery.State] = {}
        if self._wanted("attacks"):
            self.display.say("Checking the attacks where the answer is known.")
            self.gates += gates.known_answers(battery.kinds(self.settings))
            for one in self.contenders:
                self.gates += gates.before(one, self.exam, self.settings)
        for section, measure, exam in (
            ("certificates", sections.certificates, self.cheap),
            ("fgsm", sections.fgsm_curve, self.cheap),
            ("angles", sections.angles, self.cheap),
            ("corruptions", sections.corrupted, self.cheap),
            ("grid", sections.grid, self.exam),
        ):
            if self._wanted(section):
                for one in self.contenders:
                    self._section(section, measure, one, exam)
        if self._wanted("attacks"):
            states = self._attacks()
        flags = [
            flag
            for one in self.contenders
            if self._wanted("attacks")
            for flag in gates.flags(one, self.exam, self.rows, self.settings)
        ]
        seeds = self._seeds(states) if states and self.settings.seeds else {}
        return Result(
            self.rows, self.gates, flags, states, self.worst, self.notes, seeds
        )  # fmt: skip

    def _wanted(self, section: Section) -> bool:
        return section in self.settings.sections

    def _section(self, section: Section, measure, one: Contender, exam: Exam) -> None:
        if section == "certificates" and one.certify is None:
            return
        key, title = f"{one.name}/{section}", f"{one.name}, {section}"
        planned, was_there = self._costs(section), self.ledger.has(key)
        say = self._say(title, planned)
        part: Part = self.ledger.part(key, lambda: measure(one, exam, self.settings, say))
        self.rows += part.data["rows"]
        rest = {name: value for name, value in part.data.items() if name != "rows"}
        self.notes[one.name][section] = rest
        if section == "certificates":
            self.certified[one.name] = {
                int(name.removeprefix("certified_")): proved
                for name, proved in part.arrays.items()
            }
        if section == "grid":
            self.worst[one.name] = part.arrays
        self._done(title, planned, was_there)

    def _attacks(self) -> dict[str, battery.State]:
        """Every budget, every network; then each on what the others' attacks found."""
        states: dict[str, battery.State] = {}
        for eps in self.settings.eps:
            now = self._budget(eps, self.settings, states)
            for one in self.contenders:
                state = now[one.name]
                self.rows += state.rows
                self.rows.append(self._headline(one, eps, state))
                proved = self.certified[one.name]
                self.gates += gates.after(one, self.exam, eps, state, proved)
            states = now
        self._l2()
        return states

    def _budget(
        self, eps: float, settings: Settings, before: dict, place: str = ""
    ) -> dict[str, battery.State]:
        """Every network at one budget, each with the images of the others."""
        now: dict[str, battery.State] = {}
        for one in self.contenders:
            now[one.name] = battery.run(
                one, self.exam, eps, settings=settings, before=before.get(one.name),
                others={name: state.adversarial for name, state in now.items()},
                ledger=self.ledger, each=self._each, done=self._one_done, place=place,
            )  # fmt: skip
        self._cross(eps, now)
        return now

    def _seeds(self, states: dict[str, battery.State]) -> dict[str, dict[str, Any]]:
        """The headline of the last budget from every seed, and of all together."""
        eps, found = self.settings.eps[-1], {}
        broken = {name: [state.broken] for name, state in states.items()}
        for seed in self.settings.seeds:
            settings = replace(self.settings, seed=seed, seeds=())
            now = self._budget(eps, settings, {}, f"seed {seed}/")
            for name, state in now.items():
                broken[name].append(state.broken)
        for name, each in broken.items():
            found[name] = {
                "eps": eps,
                "seed": [self.settings.seed, *self.settings.seeds],
                "accuracy": [float((~one).mean()) for one in each],
                "union": float((~np.any(each, axis=0)).mean()),
            }
        return found

    def _cross(self, eps: float, now: dict[str, battery.State]) -> None:
        """Networks probed early meet what was found for later ones."""
        for number, one in enumerate(self.contenders):
            for other in self.contenders[number + 1 :]:
                images = now[other.name].adversarial
                state = now[one.name]
                battery.transferred(one, self.exam, eps, state, other.name, images)

    def _headline(self, one: Contender, eps: float, state: battery.State) -> dict:
        return row(
            one.name, "headline", int((~state.broken).sum()), self.exam.n, eps=eps,
            levels=levels_of(eps), norm="linf", attack="worst of all",
            attacks=battery.labels_of(state.rows), seed=self.settings.seed,
            tries=sum(r["tries"] for r in state.rows),
            seconds=round(sum(r.get("seconds", 0.0) for r in state.rows), 3),
        )  # fmt: skip

    def _l2(self) -> None:
        each = battery.l2_round(self.settings)
        for length in self.settings.eps_l2:
            for one in self.contenders:
                title = f"{one.name}, {each.attack.name}, eps {length:g}"
                planned = each.planned(self.exam.n)
                found, was_there = battery.l2(
                    one, self.exam, length, settings=self.settings,
                    ledger=self.ledger, say=self._say(title, planned),
                )  # fmt: skip
                self.rows.append(found)
                left = f"{found['accuracy']:.1%} left"
                self._done(f"{title}: {left}", planned, was_there)

    def _planned(self) -> float:
        """Image-steps of everything, if nothing breaks."""
        each = sum(self._costs(s) for s in self.settings.sections if s != "attacks")
        if self._wanted("attacks"):
            each += battery.planned(self.settings, self.exam.n)
        return each * len(self.contenders)

    def _costs(self, section: Section) -> float:
        settings, n, many = self.settings, self.exam.n, self.cheap.n
        turns = 360 // settings.angle_step_deg + 1 + 2 * (2 * settings.shift_px + 1)
        return {
            "fgsm": 2 * many * len(settings.eps_fgsm),
            "angles": _WARPED * many * turns,
            "corruptions": 15 * _WARPED * many,
            "certificates": 2 * battery.FORWARD * many * len(settings.eps_certified),
            "grid": _WARPED * n * settings.grid_shifts**2 * settings.grid_angles,
        }[section]

    def _each(self, one: battery.Round, title: str) -> sections.Say:
        return self._say(title, one.planned(self.exam.n))

    def _say(self, title: str, planned: float) -> Callable[[int, int], None]:
        return lambda done, total: self.clock.under_way(title, planned, done / total)

    def _one_done(self, one: battery.Round, found: dict, was_there: bool) -> None:
        title = f"{found['model']}, eps {found['eps']:g}, {found['attack']}"
        left = f"{found['accuracy']:.1%} left"
        self._done(f"{title}: {left}", one.planned(self.exam.n), was_there)

    def _done(self, title: str, planned: float, was_there: bool) -> None:
        if was_there:
            self.clock.skip(planned)
            self.display.say(f"{title} (measured before)")
        else:
            self.clock.finish(title, planned)


def report(
    result: Result, contenders: Sequence[Contender], settings: Settings
) -> dict[str, Any]:
    """The parts of probes.json that follow from a result."""
    found = {
        "rows": result.rows,
        "gates": [gate.data() for gate in result.gates],
        "flags": result.flags,
        "notes": result.notes,
        "models": {c.name: {"sha256": c.sha256} for c in contenders},
    }
    if result.seeds:
        found["seeds"] = result.seeds
    last = select(result.rows, probe="headline", eps=settings.eps[-1])
    if last:
        found["headline"] = {
            "eps": settings.eps[-1], "norm": "linf", "n": last[0]["n"],
            **{one["model"]: one["accuracy"] for one in last},
        }  # fmt: skip
        found["agreement"] = _agreement(result, contenders)
    return found


def _agreement(result: Result, contenders: Sequence[Contender]) -> list[dict]:
    """How often two networks give the adversarial images of the first the same class."""
    pairs = [(a, b) for a in contenders for b in contenders if a.name != b.name]
    found = []
    for a, b in pairs:
        images = result.states[a.name].adversarial
        same = a.judge.classes(images) == b.judge.classes(images)
        found.append(
            {"on": a.name, "and": b.name, "agree": int(same.sum()), "n": len(same)}
        )
    return found


def differences(result: Result, exam: Exam, first: str, second: str) -> list[dict]:
    """Images that are broken for one of two networks only, one record each."""
    a, b = result.states[first].broken, result.states[second].broken
    return [
        {
            "image": int(i), "label": int(exam.labels[i]),
            first: "broken" if a[i] else "holds", second: "broken" if b[i] else "holds",
        }
        for i in np.flatnonzero(a != b)
    ]  # fmt: skip
