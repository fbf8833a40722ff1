"""Long short-term memory (Hochreiter and Schmidhuber 1997): one step, or a sequence.

    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o),  g = tanh(z_g / 2)
    z = W [x, h] + b          one product of K = D + H and N = 4 H, gates i f g o
    c' = f c + i g,           h' = o tanh(c')

The half in g is a convention: its weights are twice those of tanh(z_g), so that all four
gates share one grid of 2^-4, on which a byte reaches as far as a sigmoid needs and twice
as fine as a tanh needs. All grids are given, not chosen: gates are bytes of 2^-8 (g and h:
2^-7), the cell has 16 bits of 2^-11. Every intermediate stays below 2^24, so that float32
runtimes make no error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from configs.checks import check_types, require_positive
from configs.errors import InputError
from configs.layers.layer import Layer, require_vector
from configs.program import Builder, Grid

_SUMS = Grid(signed=True, bits=8, exponent=-4)
_GATE = Grid(signed=False, bits=8, exponent=-8)
_SIGNED = Grid(signed=True, bits=8, exponent=-7)
_CELL = Grid(signed=True, bits=16, exponent=-11)
# Argument of the table of tanh(c).
_SQUASHED = Grid(signed=True, bits=8, exponent=-5)


@dataclass(frozen=True, kw_only=True)
class LstmCell(Layer):
    """One time step of a long short-term memory: a vector (D,) gives the state (H,).

    Four gates (input, forget, cell, output) each weigh the input and the state before,
    which the cell keeps: 4 * (D + H) * H weights and 4 * H biases. What follows element
    by element (sigmoid, tanh, products) is not counted.
    """

    # Hidden state H.
    features: int
    # How the products are done: "joined" is one of K = D + H and N = 4 * H; "separate"
    # is eight, for each gate one of the input and one of the state.
    gates: Literal["joined", "separate"] = "joined"

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features")

    def lower(self, b: Builder, x: str) -> str:
        require_vector("LstmCell", b.shape(x))
        hidden = b.state((self.features,), _SIGNED, "state")
        cell = b.state((self.features,), _CELL, "cell")
        if self.gates == "joined":
            sums = _joined(b, x, hidden, self.features)
        else:
            sums = _separate(b, x, hidden, self.features)
        return _step(b, sums, cell, self.features, "")[0]

    def brief(self) -> str:
        return f"{self.gates} gates"


@dataclass(frozen=True, kw_only=True)
class Lstm(Layer):
    """A long short-term memory over a sequence (T, D), or over the rows of an image
    (H, W, C), its states zero before the first step.

    All steps share their weights, 4 * (D + H) * H and 4 * H biases, and each multiplies
    with all of them.
    """

    # Hidden state H.
    features: int
    # The state after the last step, (H,), or after each one, (T, H).
    returns: Literal["last", "sequence"] = "last"

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features")

    def lower(self, b: Builder, x: str) -> str:
        shape, owner = b.shape(x), b.layer
        if len(shape) == 1:
            raise InputError(
                f"Lstm takes a sequence (T, D) or an image (H, W, C), got `shape` "
                f"(={shape}); use Dense, or leave Flatten out."
            )
        steps, width = shape[0], math.prod(shape[1:])
        # The whole sequence onto the grid of the state, once.
        x = b.activate(x, "identity", part="sequence", after=_SIGNED)
        hidden = b.state((self.features,), _SIGNED, "state")
        cell = b.state((self.features,), _CELL, "cell")
        states = []
        for t in range(steps):
            cut = b.slice(x, 0, t, t + 1, part=f"t{t}.slice")
            row = b.reshape(cut, (width,), part=f"t{t}.row")
            sums = _joined(b, row, hidden, self.features, part=f"t{t}", weights=owner)
            last = t == steps - 1 and self.returns == "last"
            hidden, cell = _step(b, sums, cell, self.features, f"t{t}", last=last)
            states.append(hidden)
        if self.returns == "last":
            return hidden
        rows = [
            b.reshape(h, (1, self.features), part=f"t{t}.out") for t, h in enumerate(states)
        ]
        return b.concat(rows, 0)

    def brief(self) -> str:
        return f"{self.returns} of the states"


def _named(prefix: str, part: str) -> str:
    return f"{prefix}.{part}" if prefix else part


def _joined(
    b: Builder, x: str, hidden: str, features: int, *, part: str = "", weights: str = ""
) -> str:
    """z of one step, from one product."""
    both = b.concat([x, hidden], 0, part=_named(part, "joined"))
    sums = b.product(both, 4 * features, part=_named(part, "sum"), weights=weights)
    return b.activate(sums, "identity", part=_named(part, "gates"), after=_SUMS)


def _separate(b: Builder, x: str, hidden: str, features: int) -> str:
    """z of one step, from the products of the input and those of the state."""
    ends = []
    for name, value in (("input", x), ("hidden", hidden)):
        owner = f"{b.layer}.{name}"
        sums = b.product(
            value, 4 * features, part=f"{name}.sum", weights=owner, parts=4,
            biased=name == "input",
        )  # fmt: skip
        ends.append(b.activate(sums, "identity", part=name, after=_SUMS))
    total = b.plus(*ends, part="both")
    return b.activate(total, "identity", part="gates", after=_SUMS)


def _step(
    b: Builder, z: str, cell: str, features: int, part: str, *, last: bool = True
) -> tuple[str, str]:
    """The state and the cell after a step."""
    gates = {}
    for index, gate in enumerate("ifgo"):
        start = index * features
        cut = b.slice(z, 0, start, start + features, part=_named(part, f"{gate}.slice"))
        function, grid = ("tanh_half", _SIGNED) if gate == "g" else ("sigmoid", _GATE)
        gates[gate] = b.activate(
            cut, function, part=_named(part, gate), before=_SUMS, after=grid,
            shares=f"{b.layer}.{gate}",
        )  # fmt: skip
    kept = b.times(gates["f"], cell, part=_named(part, "kept"))
    new = b.times(gates["i"], gates["g"], part=_named(part, "new"))
    total = b.plus(kept, new, part=_named(part, "total"))
    cell = b.activate(total, "identity", part=_named(part, "cell_out"), after=_CELL,
        shares=f"{b.layer}.cell_out",
    )  # fmt: skip
    squashed = b.activate(
        cell, "tanh", part=_named(part, "squashed"), before=_SQUASHED, after=_SIGNED,
        shares=f"{b.layer}.squashed",
    )  # fmt: skip
    shown = b.times(gates["o"], squashed, part=_named(part, "shown"))
    name = "" if last else _named(part, "hidden")
    hidden = b.activate(
        shown, "identity", part=name, after=_SIGNED, shares=f"{b.layer}.shown_out"
    )
    return hidden, cell
