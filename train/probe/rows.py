"""The records of a probe: one accuracy each, never without what it was measured with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from train.attack.target import Target
from train.judge import Classifier
from train.probe.binomial import interval

# (images uint8 (N, ...), labels, levels) -> whether no change within is misjudged, (N,).
Certify = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Proof:
    """A slow way to certify, for images that faster ones leave."""

    method: str
    certify: Certify


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """A network that is probed."""

    subject: Target
    judge: Classifier
    # SHA-256 of its numbers.
    sha256: str
    certify: Certify | None = None
    # What the certificate is, for captions.
    certificate: str = "interval bounds"
    # Tried after it, from the fastest to the closest.
    closer: tuple[Proof, ...] = ()

    @property
    def name(self) -> str:
        return self.subject.name


@dataclass(frozen=True, kw_only=True, eq=False)
class Exam:
    """Test images with their labels; positions are those in the test set."""

    images: np.ndarray
    labels: np.ndarray

    def first(self, count: int) -> Exam:
        """The first `count` images, or all for 0."""
        cut = count or len(self.labels)
        return Exam(images=self.images[:cut], labels=self.labels[:cut])

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def indices(self) -> np.ndarray:
        return np.arange(self.n, dtype=np.uint32)


def row(model: str, probe: str, correct: int, n: int, **parameters: Any) -> dict[str, Any]:
    """One record: `correct` of `n` images, with the exact 95 % interval of the share."""
    low, high = interval(int(correct), int(n))
    return {
        "model": model,
        "probe": probe,
        "correct": int(correct),
        "n": int(n),
        "accuracy": int(correct) / int(n),
        "accuracy_95": [low, high],
        **parameters,
    }
