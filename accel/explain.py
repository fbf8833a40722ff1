"""What a wrong value would be right for: the mistakes that graphs invite, tried in turn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer

from configs.program import Product


def rows(
    node: Product,
    given_MK: Integer[np.ndarray, "m gk"],
    right_MK: Integer[np.ndarray, "m gk"],
) -> str:
    """Which group has the inputs of which other; "" if none has."""
    if node.groups == 1:
        return ""
    given, right = (np.split(a, node.groups, axis=1) for a in (given_MK, right_MK))
    group = next(g for g in range(node.groups) if (given[g] != right[g]).any())
    for other in range(node.groups):
        if other != group and np.array_equal(given[group], right[other]):
            return f": group {group} has those of group {other}"
    return f": from group {group} on"


def weights(
    given_KN: Integer[np.ndarray, "k n"], right_KN: Integer[np.ndarray, "k n"]
) -> str:
    """Which feature has the weights of which other; "" if none has."""
    if given_KN.shape != right_KN.shape:
        return ""
    wrong = np.flatnonzero((given_KN != right_KN).any(0))
    same = (given_KN[:, wrong[0], None] == right_KN).all(0)
    if not same.any():
        return ""
    return f": feature {wrong[0]} has those of feature {np.flatnonzero(same)[0]}"
