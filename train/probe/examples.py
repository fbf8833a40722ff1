"""Which images a sheet shows, and the sentences that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Predicted classes (N,) by name of model.
Classes = Mapping[str, np.ndarray]

EXAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Indices of the images that are shown, and a sentence that says why these."""

    indices: np.ndarray
    sentence: str


def chosen(
    labels: np.ndarray, before: Classes, after: Classes, losses: np.ndarray | None
) -> Choice:
    """Up to eight images that were right and became wrong.

    One of each class comes first, that which misleads most models; then any others. If
    there is none, those of highest loss that were right.

    Args:
      labels: (N,).
      before, after: predictions (N,) of one model or several.
      losses: (N,) after; None if unknown.
    """
    right = [before[model] == labels for model in before]
    wrong = [after[model] != labels for model in before]
    hits = np.sum([r & w for r, w in zip(right, wrong, strict=True)], axis=0)
    broken = np.flatnonzero(hits)
    if not len(broken):
        return _unbroken(np.any(right, axis=0), losses)
    order = broken[np.argsort(-hits[broken], kind="stable")]
    # Positions in `order`, sorted by class.
    first = np.unique(labels[order], return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(order)), first)
    pick = order[np.concatenate([first, rest])[:EXAMPLES]]
    who = "" if len(before) == 1 else " for at least one model"
    some = f"{len(pick)} of the" if len(pick) < len(broken) else "all"
    sentence = (
        f"Shown: {some} {len(broken):,} images right before and wrong after{who}, one of "
        "each class first."
    )
    return Choice(indices=pick, sentence=sentence)


def _unbroken(right: np.ndarray, losses: np.ndarray | None) -> Choice:
    candidates = np.flatnonzero(right)
    if not len(candidates):
        indices = np.arange(min(EXAMPLES, len(right)))
        sentence = f"No image was right before; shown: the first {len(indices)}."
        return Choice(indices=indices, sentence=sentence)
    none = "No image that was right before is wrong after; shown, of those right before"
    if losses is None:
        pick = candidates[:EXAMPLES]
        return Choice(indices=pick, sentence=f"{none}: the first {len(pick)}.")
    pick = candidates[np.argsort(-losses[candidates], kind="stable")[:EXAMPLES]]
    sentence = f"{none}: the {len(pick)} nearest to a mistake (highest loss)."
    return Choice(indices=pick, sentence=sentence)


def scores(labels: np.ndarray, before: Classes, after: Classes) -> str:
    """How many images each model classifies rightly before and after."""
    right = lambda classes: int(np.sum(classes == labels))
    each = [f"{m} {right(before[m]):,} → {right(after[m]):,}" for m in before]
    return f"Right before → after, of n = {len(labels):,} test images: {', '.join(each)}."
