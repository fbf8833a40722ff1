"""The settings of training against the worst input within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from configs.checks import check_types, require

Method = Literal["none", "pgd", "trades", "ibp", "crown-ibp"]


@dataclass(frozen=True, kw_only=True)
class Robust:
    """Training against the worst change of an image: every pixel by at most `eps`.

    The loss is (1 - w) * clean + w * robust, for "trades" clean + w * divergence; w and
    the budget rise together from 0 to their values.
    """

    # What stands for the worst image: nothing; one found by gradient ascent, with its
    # cross-entropy ("pgd") or its divergence from the clean answer ("trades"); or a bound
    # over all of them, from intervals ("ibp") or from linear bounds that give way to
    # intervals as the budget rises ("crown-ibp").
    method: Method = "none"
    # Largest change of a pixel, where 1 is the whole range of 255 levels.
    eps: float = 0.3
    # Weight w of the robust term at the end; trades usually takes 6, the others 0.5 to 1.
    weight: float = 0.5
    # Part of all updates (0..1) before the budget rises.
    warmup: float = 0.05
    # Part of all updates (0..1) in which it rises, along a line.
    rampup: float = 0.5
    # Gradient steps to each image (pgd, trades); every one costs as much as an update.
    steps: int = 7

    def __post_init__(self) -> None:
        check_types(self)
        require(self, 0 < self.eps <= 1, "eps", "must be above 0 and at most 1; try 0.3.")
        require(self, self.weight > 0, "weight", "must be above 0; try 0.5.")
        most = self.method == "trades" or self.weight <= 1
        require(self, most, "weight", "must be at most 1, all of the loss; try 0.5.")
        for name in ("warmup", "rampup"):
            within = 0 <= getattr(self, name) <= 1
            require(self, within, name, "must be a part of all updates, in 0..1.")
        together = self.warmup + self.rampup <= 1
        require(self, together, "rampup", "must leave `warmup` + `rampup` at most 1.")
        require(self, self.steps >= 1, "steps", "must be 1 or more; try 7.")
