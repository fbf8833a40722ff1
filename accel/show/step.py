"""The step-through page: a small systolic array, clock edge by clock edge.

One self-contained HTML file that opens offline. It shows traces of the simulator; its
script has the same array once more, because the matrices can be edited in the page, and
compares the two when it opens.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from accel.machines.machine import Dataflow, Systolic
from accel.show.inline import source_hash, template
from accel.simulate import trace
from accel.simulate.trace import Trace
from configs.errors import InputError
from quant import normative
from quant.network import IntNetwork

# What fits a screen: sides of the array, and M, K, N of the product.
LARGEST = 16
_SCRIPTS = ("step_array", "step_view", "step_words", "step", "step_edit")
# X is a..i, W is A..I in symbols; as numbers they are small and all different enough
# that a wrong neighbour shows.
_LECTURE_X = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
_LECTURE_W = ((1, -2, 3), (-4, 5, 2), (3, 1, -1))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One run to step through. Examples of one title are shown as one, by dataflow."""

    title: str
    trace: Trace
    # Whether the page first shows names (a, b, A, B) instead of numbers.
    symbolic: bool = False

    def __post_init__(self) -> None:
        machine = self.trace.machine
        if not self.title.strip():
            raise InputError(f"`title` (={self.title!r}) must say something; name the run.")
        _require_small(machine)
        sizes = (*self.trace.x.shape, self.trace.w.shape[1])
        most = leading(machine, *sizes)
        for name, size, fits in zip("MKN", sizes, most, strict=True):
            if size > fits:
                raise InputError(
                    f"`{name}` (={size}) of {self.title!r} must be at most {fits}, the "
                    f"tile that {machine.name} takes; take a part of the product."
                )


def small_example(dataflow: Dataflow, rows: int = 3, cols: int = 3) -> Example:
    """The lecture's 3x3 product, or its leading part on a smaller array.

    A larger array has the same pattern of numbers, as many as fill it.
    """
    machine = Systolic(rows=rows, cols=cols, dataflow=dataflow)
    _require_small(machine)
    side = max(rows, cols)
    m, k, n = leading(machine, side, side, side)
    x, w = _repeated(_LECTURE_X, m, k), _repeated(_LECTURE_W, k, n)
    title = f"{rows} × {cols} walk-through" + (" of the lecture" if side == 3 else "")
    return Example(title=title, trace=trace.record(machine, x, w), symbolic=side == 3)


def tile_of(
    network: IntNetwork,
    layer_name: str,
    images: UInt8[np.ndarray, "b ..."],
    machine: Systolic,
) -> Example:
    """The leading tile of a layer's product, for the first image, as the array meets it.

    Of a convolution's positions it takes those in a row whose patches hold the most
    values other than zero: the corner of a digit would show nothing but zeros.

    Raises:
      InputError: no layer of that name has weights, there is no image, or the machine is
        too large for the page or has shadow registers.
    """
    _require_small(machine)
    layer = _layer(network, layer_name)
    if not len(images):
        raise InputError("`images` (=0 images) must hold one at least; give one image.")
    products: list[tuple[np.ndarray, np.ndarray]] = []

    def matmul(x_MK: np.ndarray, w_KN: np.ndarray) -> np.ndarray:
        products.append((x_MK, w_KN))
        return normative.matmul(x_MK, w_KN)

    for step in normative.steps(network, images[:1], matmul):
        if step.layer.name == layer.name:
            break
    x_MK, w_KN = products[-step.layer.product.groups]
    m, k, n = leading(machine, len(x_MK), *w_KN.shape)
    first = _liveliest(x_MK[:, :k], m)
    x = x_MK[first : first + m, :k].astype(layer.input.dtype)
    title = (
        f"{layer_name}: positions {first}..{first + m - 1}, inputs 0..{k - 1}, "
        f"outputs 0..{n - 1} of {len(x_MK)} × {w_KN.shape[0]} × {w_KN.shape[1]}"
    )
    w = w_KN[:k, :n].astype(np.int8)
    return Example(title=title, trace=trace.record(machine, x, w))


def leading(machine: Systolic, M: int, K: int, N: int) -> tuple[int, int, int]:
    """How much of M, K, N one tile of the machine takes, and the page shows.

    >>> leading(Systolic(rows=4, cols=2, dataflow="os"), 9, 30, 9)
    (4, 16, 2)
    """
    rows, cols = machine.rows, machine.cols
    most = {
        "ws": (LARGEST, rows, cols),
        "is": (cols, rows, LARGEST),
        "os": (rows, LARGEST, cols),
    }[machine.dataflow]
    m, k, n = (min(*pair) for pair in zip((M, K, N), most, strict=True))
    return m, k, n


def page(examples: Sequence[Example]) -> str:
    """The whole page as HTML, with nothing left to fetch.

    Its policy lets no other script, style or address in: the two that are there are
    named by their hashes.

    Raises:
      InputError: there is no example, or a title has two for one dataflow.
    """
    if not examples:
        raise InputError("`examples` (=()) must hold one at least; give a small example.")
    kinds = [(one.title, one.trace.machine.dataflow) for one in examples]
    for title, dataflow in kinds:
        if kinds.count((title, dataflow)) > 1:
            raise InputError(
                f"`examples` must hold one {dataflow} run of {title!r}, not several; give "
                f"the others titles of their own."
            )
    script = _script()
    style = template("step.css")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template("step.html")).render(
        policy=(
            f"default-src 'none'; script-src '{source_hash(script)}'; "
            f"style-src '{source_hash(style)}'; base-uri 'none'; form-action 'none'"
        ),
        style=Markup(style),
        script=Markup(script),
        examples=Markup(_json([_data(one) for one in examples])),
    )


def _data(example: Example) -> dict[str, Any]:
    """A trace as the script reads it."""
    run = example.trace
    registers = {
        name: np.asarray(values).astype(np.int64).tolist()
        for name, values in run.registers.items()
    }
    return {
        "title": example.title,
        "symbolic": example.symbolic,
        "dataflow": run.machine.dataflow,
        "rows": run.machine.rows,
        "cols": run.machine.cols,
        "x": np.asarray(run.x).tolist(),
        "w": np.asarray(run.w).tolist(),
        **registers,
        "captured": np.asarray(run.captured).tolist(),
        "captured_valid": np.asarray(run.captured_valid).astype(np.int64).tolist(),
        "phases": list(run.phases),
    }


def _json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _script() -> str:
    parts = "\n".join(template(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _repeated(pattern: tuple, rows: int, cols: int) -> np.ndarray:
    side = len(pattern)
    tiled = np.tile(np.array(pattern, np.int8), (-(-rows // side), -(-cols // side)))
    return tiled[:rows, :cols]


def _liveliest(x_MK: np.ndarray, count: int) -> int:
    """First of the `count` rows in succession with the most values other than zero."""
    live = (x_MK != 0).sum(1)
    return int(np.argmax(np.convolve(live, np.ones(count, np.int64), "valid")))


def _layer(network: IntNetwork, name: str) -> Any:
    titles = network.program.titles()
    weighted = {
        titles[layer.product.name]: layer for layer in network.walk() if layer.product
    }
    if name not in weighted:
        raise InputError(
            f"`layer_name` (={name!r}) must be a layer with weights; choose from "
            f"{', '.join(weighted)}."
        )
    return weighted[name]


def _require_small(machine: Systolic) -> None:
    for side in ("rows", "cols"):
        if getattr(machine, side) > LARGEST:
            raise InputError(
                f"`{side}` (={getattr(machine, side)}) must be in 1..{LARGEST} to fit the "
                f"page; show a smaller array, "
                f"{dataclasses.replace(machine, rows=8, cols=8).name} for instance."
            )
    if machine.weights != "single":
        raise InputError(
            f"`weights` (={machine.weights!r}) must be 'single': the page shows one tile, "
            f"and a shadow register has no next one to load; leave it out."
        )
