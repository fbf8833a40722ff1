"""Breaks registers of a systolic array, one at a time, and follows what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from accel.machines.machine import Systolic
from accel.simulate.faults import KINDS, REGISTERS, WIDTHS, Fault
from accel.verify.quantised_run import QuantisedRun
from accel.verify.run import Setup
from accel.verify.verify import Verified, verify

# From nothing to worst, by what a user would see.
EFFECTS = ("none", "absorbed", "logits", "classes")


def drawn(
    machine: Systolic, count: int, *, seed: int, registers: Sequence[str] = REGISTERS
) -> list[Fault]:
    """Faults at random: any PE, bit and kind, each as likely."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        register = str(draw.choice(list(registers)))
        found.append(
            Fault(
                register=register,
                row=int(draw.integers(machine.rows)),
                col=int(draw.integers(machine.cols)),
                bit=int(draw.integers(WIDTHS[register])),
                kind=str(draw.choice(KINDS)),
            )
        )
    return found


def run(
    subject: QuantisedRun,
    setup: Setup,
    faults: Sequence[Fault],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The subject's images with each fault by itself, against the normative integers.

    Every register is stepped, so a fault travels as it would: a broken weight register
    spoils what passes it on the way down, a broken sum whatever is added below.

    Raises:
      InputError: a fault is not in the array, or the network does not fit it.
    """
    found = []
    for number, fault in enumerate(faults, 1):
        broken = dataclasses.replace(setup, faults=(fault,), literal=True)
        outcome = _outcome(
            subject, verify(subject.network, subject.images, broken, explain=False)
        )
        found.append(dataclasses.asdict(fault) | outcome)
        say(f"{number} of {len(faults)}: {sentence(found[-1])}")
    effects = [one["effect"] for one in found]
    return {
        "name": subject.name,
        "machine": setup.machine.name,
        "images": len(subject.images),
        "batch": setup.batch,
        "effects": {effect: effects.count(effect) for effect in EFFECTS},
        "faults": found,
    }


def _outcome(subject: QuantisedRun, verified: Verified) -> dict[str, Any]:
    """How far one fault travelled, and what it did to the answers."""
    changed = verified.outputs != verified.expected
    layers = [
        {
            "name": layer.gemm.name,
            "values": layer.compared // 2,
            "wrong_sums": layer.wrong_sums,
            "wrong_outputs": layer.wrong_outputs,
        }
        for layer in verified.layers
    ]
    answers = verified.outputs.argmax(-1) != verified.expected.argmax(-1)
    labelled = subject.labels is not None
    if labelled and answers.any():
        effect = "classes"
    elif changed.any():
        effect = "logits"
    else:
        effect = "absorbed" if verified.wrong else "none"
    outcome = {
        "effect": effect,
        "layers": layers,
        "logits": int(changed.size),
        "wrong_logits": int(changed.sum()),
        "images_with_wrong_logits": int(changed.any(-1).sum()),
        "changed_classes": int(answers.sum()) if labelled else None,
        "accuracy": None,
        "accuracy_without": None,
    }
    if labelled:
        right = [
            o.argmax(-1) == subject.labels for o in (verified.outputs, verified.expected)
        ]
        outcome["accuracy"], outcome["accuracy_without"] = map(float, map(np.mean, right))
    return outcome


def _accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(outputs.argmax(-1) == labels))


def sentence(outcome: dict[str, Any]) -> str:
    """One fault and how far it went, in words."""
    what = (
        f"{outcome['kind']} of bit {outcome['bit']} in {outcome['register']} of PE "
        f"({outcome['row']}, {outcome['col']})"
    )
    sums = sum(layer["wrong_sums"] for layer in outcome["layers"])
    outputs = sum(layer["wrong_outputs"] for layer in outcome["layers"])
    end = {
        "none": "changes nothing",
        "absorbed": f"spoils {sums:,} sums, {outputs:,} outputs of layers and no logit",
        "logits": f"spoils {sums:,} sums and {outcome['wrong_logits']:,} logits, no class",
        "classes": (
            f"spoils {sums:,} sums and {outcome['wrong_logits']:,} logits, and changes the "
            f"class of {outcome['changed_classes']} images"
        ),
    }
    return f"{what} {end[outcome['effect']]}"
