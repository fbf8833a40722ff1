"""What a wrong value would be right for: the mistakes that graphs invite, tried in turn.

A step whose inputs were right gave something else. If another value in the place of one
input, another order, another shift or another cut gives exactly what was found, that is
what is said; the arithmetic is the judge's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from jaxtyping import Integer

from configs.program import Concat, Pad, Product, Slice, State, Step
from quant import normative
from quant.network import Format, IntNetwork, IntStep

# Places that a value may have been shifted wrong by.
_SHIFTS = tuple(sign * places for places in range(1, 9) for sign in (1, -1))
# Inputs whose orders are all tried.
_FEW = 4


@dataclass(frozen=True)
class Values:
    """All values of some images that a step might have taken by mistake."""

    network: IntNetwork
    # By name: what the machine made, and what nothing makes (pixels, states).
    arrays: Mapping[str, np.ndarray]

    def kinds(self) -> dict[str, Format]:
        made = {step.name: step.output for step in self.network.walk()}
        return self.network.starts | made

    def others(self, name: str, before: str) -> Iterator[tuple[str, np.ndarray]]:
        """Values of the shape of one that are there before a step is done; in the place of
        a state also what comes later."""
        shape = self.arrays[name].shape
        every = isinstance(self.network.program.by_name[name], State)
        for other in (*self.network.starts, *(s.name for s in self.network.walk())):
            if other == before and not every:
                return
            array = self.arrays[other]
            if other != name and array.shape == shape:
                yield other, array


def step(done: normative.Step, found: Integer[np.ndarray, "b ..."], values: Values) -> str:
    """What explains all of a step's outputs, with a colon before it; "" if nothing does."""
    for hypothesis in (_order, _exchanged, _replaced, _shifted, _cut, _parts, _state):
        said = hypothesis(done, found, values)
        if said:
            return f": {said}"
    return ""


def _gives(found: np.ndarray, layer: IntStep, inputs: tuple[np.ndarray, ...]) -> bool:
    """Whether a step like this one would give what was found."""
    try:
        return np.array_equal(normative.apply(layer, *inputs).output, found)
    except (AssertionError, ValueError):
        # It leaves its range, or its parts no longer fit each other.
        return False


def _order(done: normative.Step, found: np.ndarray, values: Values) -> str:
    """Parts that stand side by side in another order."""
    concat = done.layer.step.find(Concat)
    if concat is None or len(concat.inputs) > _FEW:
        return ""
    parts = dict(zip(done.layer.step.inputs, done.inputs, strict=True))
    for order in permutations(concat.inputs):
        joined = np.concatenate([parts[name] for name in order], 1 + concat.axis)
        if order != concat.inputs and np.array_equal(joined, found):
            return f"its inputs stand in the order {_listed(order)}"
    return ""


def _exchanged(done: normative.Step, found: np.ndarray, values: Values) -> str:
    """Two inputs that changed places."""
    names, layer = done.layer.step.inputs, done.layer
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            places = list(range(len(names)))
            places[a], places[b] = b, a
            inputs = tuple(done.inputs[place] for place in places)
            moved = tuple(layer.inputs[place] for place in places)
            for kinds in dict.fromkeys((layer.inputs, moved)):
                if _gives(found, replace(layer, inputs=kinds), inputs):
                    return f"its inputs `{names[a]}` and `{names[b]}` are exchanged"
    return ""


def _replaced(done: normative.Step, found: np.ndarray, values: Values) -> str:
    """Another value in the place of an input."""
    layer, kinds = done.layer, values.kinds()
    for place, name in enumerate(layer.step.inputs):
        for other, array in values.others(name, layer.name):
            inputs = _with(done.inputs, place, array)
            for kind in dict.fromkeys((layer.inputs[place], kinds[other])):
                changed = replace(layer, inputs=_with(layer.inputs, place, kind))
                if _gives(found, changed, inputs):
                    return f"its input {place + 1} is `{other}`, not `{name}`{_of(layer)}"
    return ""


def _shifted(done: normative.Step, found: np.ndarray, values: Values) -> str:
    """An input, or all of them, on a grid that is some places off."""
    layer = done.layer
    if layer.activated is None:
        return ""
    names = layer.step.inputs
    sets = [((place,), f"its input {place + 1}, `{n}`,") for place, n in enumerate(names)]
    if len(names) > 1:
        sets.append((tuple(range(len(names))), "its result"))
    for places, what in sets:
        for by in _SHIFTS:
            kinds = tuple(
                _moved(kind, by) if place in places else kind
                for place, kind in enumerate(layer.inputs)
            )
            if None in kinds:
                continue
            if _gives(found, replace(layer, inputs=kinds), done.inputs):
                way = "left" if by > 0 else "right"
                return f"{what} is shifted {abs(by)} too far to the {way}"
    return ""


def _moved(kind: Format, by: int) -> Format | None:
    """The same on a coarser or finer grid; None where there is none."""
    if not -32 <= kind.exponent + by <= 32:
        return None
    return replace(kind, exponent=kind.exponent + by)


def _cut(done: normative.Step, found: np.ndarray, values: Values) -> str:
    """Other entries of the value that a step cuts."""
    layer = done.layer
    node = layer.step.find(Slice)
    if node is None:
        return ""
    length, size = node.stop - node.start, layer.input_shape[node.axis]
    for start in range(size - length + 1):
        other = replace(node, start=start, stop=start + length)
        nodes = tuple(other if one is node else one for one in layer.step.nodes)
        changed = replace(layer, step=Step(nodes=nodes))
        if start != node.start and _gives(found, changed, done.inputs):
            return (
                f"it takes entries {start}..{start + length - 1} of `{node.input}`, not "
                f"{node.start}..{node.stop - 1}"
            )
    return ""


def _parts(done: normative.Step, found: np.ndarray, values: Values) -> str:
    """The first part that is wrong among those that stand side by side."""
    concat = done.layer.step.find(Concat)
    if concat is None or found.shape != done.output.shape:
        return ""
    parts = dict(zip(done.layer.step.inputs, done.inputs, strict=True))
    first = 0
    for place, name in enumerate(concat.inputs):
        right = parts[name]
        size = right.shape[1 + concat.axis]
        mine = np.take(found, range(first, first + size), axis=1 + concat.axis)
        first += size
        if np.array_equal(mine, right):
            continue
        others = values.others(name, done.layer.name)
        other = next((o for o, a in others if np.array_equal(a, mine)), None)
        if other is not None:
            return f"its input {place + 1} is `{other}`, not `{name}`"
        said = f"its input {place + 1} is not `{name}`"
        return said + (_UNRESET if _is_state(values, name) else "")
    return ""


_UNRESET = ", a state, which is zeros when an image begins: it was not reset"


def _state(done: normative.Step, found: np.ndarray, values: Values) -> str:
    """A state among the inputs, and nothing else that explains it."""
    names = [name for name in done.layer.step.inputs if _is_state(values, name)]
    return f"it takes `{names[0]}`{_UNRESET}, unless it is wrong itself" if names else ""


def _is_state(values: Values, name: str) -> bool:
    return isinstance(values.network.program.by_name[name], State)


def _of(layer: IntStep) -> str:
    several = len(layer.step.inputs)
    return f" (of {several})" if several > 1 else ""


def _with(items: tuple, place: int, item) -> tuple:
    return (*items[:place], item, *items[place + 1 :])


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def rows(
    done: normative.Step,
    given_MK: Integer[np.ndarray, "m gk"],
    right_MK: Integer[np.ndarray, "m gk"],
    values: Values,
) -> str:
    """Whose rows a product was given instead of those of its input; "" if nobody's."""
    layer, node = done.layer, done.layer.product
    for other, array in values.others(layer.step.inputs[0], layer.name):
        if np.array_equal(operands(layer, array), given_MK):
            return f": they are those of `{other}`"
    if node.groups == 1:
        return ""
    given, right = (np.split(a, node.groups, axis=1) for a in (given_MK, right_MK))
    group = next(g for g in range(node.groups) if (given[g] != right[g]).any())
    for other in range(node.groups):
        if other != group and np.array_equal(given[group], right[other]):
            return f": group {group} has those of group {other}"
    return f": from group {group} on"


def operands(layer: IntStep, x: Integer[np.ndarray, "b ..."]) -> np.ndarray:
    """Left factor of a product by the judge, int64 (M, G * K): groups side by side."""
    pad, wide = layer.step.find(Pad), x.astype(np.int64)
    if pad is not None:
        wide = normative.pad(wide, pad.kind, pad.pads)
    return np.concatenate(normative.rows_of(wide, layer.product), axis=1)


def weights(
    node: Product,
    given_KN: Integer[np.ndarray, "k n"],
    right_KN: Integer[np.ndarray, "k n"],
) -> str:
    """Which feature has the weights of which other; "" if none has."""
    if given_KN.shape != right_KN.shape:
        return ""
    wrong = int(np.flatnonzero((given_KN != right_KN).any(0))[0])
    same = np.flatnonzero((given_KN[:, wrong, None] == right_KN).all(0))
    if not same.size:
        return ""
    group = f" of group {wrong // node.N}" if node.groups > 1 else ""
    return f": feature {wrong}{group} has those of feature {same[0]}"
