"""The integer network: what training leaves behind and hardware executes.

A real number stands as an integer times a power of two (`Format`). A layer with weights
sums integer products, adds an integer bias, and brings the sum back to eight bits:

    acc[f] = sum_k x[k] * w[k, f] + bias[f]                  int32, exact
    y[f]   = clip(RNE(acc[f] * multiplier[f] / 2^shift))     RNE: round half to even

Everything is an integer; no float is left. The rules are written out in `normative.py`.
Reading this file needs numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from configs.checks import brief, check_types, require
from configs.errors import InputError
from configs.layers import added
from configs.network import Network
from configs.program import (
    KEEPS_GRID,
    UNSIGNED,
    Activate,
    Add,
    Concat,
    Grid,
    Input,
    Mul,
    Node,
    Pool,
    Product,
    Program,
    Reshape,
    Shape,
    State,
    Step,
)
from quant.float32_rounding import agrees_with_float32

# Accumulators are 32-bit registers.
ACCUMULATOR_LIMIT = 2**31
# Shifts for which `acc * multiplier`, clipped where the output saturates, fits int32.
# Up to 16 every multiplier rounds in float32 as in integers; beyond, some do.
SHIFTS = range(8, 22)
# Exponents for which every scale of every exported file is a normal float32.
_EXPONENTS = range(-32, 33)
# Sums and products of values stay below: float32 runtimes make no error there.
WIDE_LIMIT = 2**24
# Outputs of these activations are never negative.
UNSIGNED_ACTIVATIONS = UNSIGNED
# Requantisation alone is the activation; all others look up a table.
DIRECT_ACTIVATIONS = ("identity", "relu", "relu6")


def weight_high(bits: int) -> int:
    """Largest magnitude of a weight: both signs reach it, so that -128 is not used.

    >>> weight_high(8), weight_high(2)
    (127, 1)
    """
    return (1 << (bits - 1)) - 1


@dataclass(frozen=True, kw_only=True)
class Integers:
    """Integers in low..high: those of a width, in two's complement if signed.

    >>> [(i.low, i.high) for i in (Integers(signed=False), Integers(signed=True, bits=4))]
    [(0, 255), (-8, 7)]
    """

    signed: bool
    # Width: values of fewer than 8 bits still live in 8-bit containers. 16 is for what a
    # recurrence keeps.
    bits: int = 8

    def __post_init__(self) -> None:
        check_types(self)
        fits = 2 <= self.bits <= 8 or self.bits == 16
        require(self, fits, "bits", "must be in 2..8, or 16.")

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1

    @property
    def largest(self) -> int:
        """Largest magnitude."""
        return max(-self.low, self.high)

    @property
    def dtype(self) -> np.dtype:
        kind = "int" if self.signed else "uint"
        return np.dtype(f"{kind}{8 if self.bits <= 8 else 16}")


@dataclass(frozen=True, kw_only=True)
class Format(Integers):
    """Integers q in low..high that stand for the real numbers q * 2^exponent."""

    exponent: int
    # Largest integer that is used, where the function saturates below the width's.
    cap: int | None = added(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        inside = self.exponent in _EXPONENTS
        require(self, inside, "exponent", "must be in -32..32: scales beyond are no use.")
        whole = super().high
        fits = self.cap is None or 1 <= self.cap < whole
        require(self, fits, "cap", f"must be in 1..{whole - 1}; leave it out otherwise.")

    @property
    def high(self) -> int:
        return super().high if self.cap is None else self.cap

    @classmethod
    def of(cls, grid: Grid) -> Format:
        return cls(signed=grid.signed, bits=grid.bits, exponent=grid.exponent)

    @property
    def scale(self) -> float:
        return math.ldexp(1.0, self.exponent)


# The network's input: pixels p in 0..255 stand for p / 256.
PIXELS = Format(signed=False, exponent=-8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted:
    """What a convolution or a dense layer holds; one column per output feature F."""

    # int8 (R, S, C, F) or (inputs, F), in -(2^(bits-1) - 1)..2^(bits-1) - 1.
    weights: np.ndarray
    # int32 (F,), at the scale of the sum.
    bias: np.ndarray
    # int32 (F,), in 1..65535.
    multiplier: np.ndarray
    # Right shift after the multiplication.
    shift: int = 16
    # Width of the weights; they live in 8-bit containers.
    weight_bits: int = 8
    # The requantised sum; int8 if a table follows, else the layer's output.
    sum: Format
    # Output for each requantised sum s at index s + 128, (256,); None without a table.
    table: np.ndarray | None = None
    # The layer's output.
    output: Format

    @property
    def features(self) -> int:
        return self.weights.shape[-1]

    @property
    def weight_high(self) -> int:
        return weight_high(self.weight_bits)

    @property
    def matrix(self) -> np.ndarray:
        """The weights as the right factor (K, N) of the layer's matrix product."""
        return self.weights.reshape(-1, self.features)

    def tensors(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        named = {n: getattr(self, n) for n in ("weights", "bias", "multiplier", "table")}
        return {name: array for name, array in named.items() if array is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Activated:
    """How a value other than a product's sum comes to a grid of its own: by a shift,
    since all scales are powers of two, and through a table if there is one.

        y = clip(RNE(x * 2^(its exponent - the sum's)));   table[y + 128]
    """

    # The argument of the function; int8 if a table follows, else the output.
    sum: Format
    # Output for each argument s at index s + 128, (256,); None without a table.
    table: np.ndarray | None = None
    output: Format

    def tensors(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {} if self.table is None else {"table": self.table}


@dataclass(frozen=True, kw_only=True)
class IntStep:
    """One step of the program in its place: the formats around it, its numbers."""

    step: Step
    # Of `step.inputs`, in order.
    inputs: tuple[Format, ...]
    input_shapes: tuple[Shape, ...]
    output: Format
    # Of a step with a Product.
    weighted: Weighted | None = None
    # Of a step with an Activate and no Product.
    activated: Activated | None = None

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def shape(self) -> Shape:
        """Of the output, without the batch."""
        return self.step.shape

    @property
    def input(self) -> Format:
        """Format of the first value it takes: of all, but for a sum or a product."""
        return self.inputs[0]

    @property
    def input_shape(self) -> Shape:
        return self.input_shapes[0]

    @property
    def product(self) -> Product | None:
        return self.step.product

    @property
    def whole_pool(self) -> Pool | None:
        """The pooling of whole planes to a vector, where that is what the step does."""
        if [type(node) for node in self.step.nodes] != [Pool, Reshape]:
            return None
        pool, vector = self.step.nodes
        # A window that moves by one pixel and has one place covers everything.
        whole = pool.shape[:2] == (1, 1) and pool.stride == (1, 1)
        plain = not any(map(any, pool.pads)) and len(vector.shape) == 1
        return pool if whole and plain else None

    @property
    def numbers(self) -> Weighted | Activated | None:
        """What it holds, whichever it is."""
        return self.weighted or self.activated

    @property
    def owner(self) -> str | None:
        """Whose numbers it holds, of which others may have the same; None for none."""
        if self.product:
            return self.product.weights
        return self.step.activate.owner if self.activated else None

    def weight_scale(self) -> np.ndarray:
        """Real value of one step of each feature's weights, float64 (F,), exact."""
        exponent = self.weighted.sum.exponent - self.input.exponent - self.weighted.shift
        return np.ldexp(self.weighted.multiplier.astype(np.float64), exponent)

    def accumulator_bound(self) -> int:
        """Largest magnitude that any input can give any sum, partial ones included."""
        w = np.abs(self.weighted.matrix.astype(np.int64)).sum(0)
        b = np.abs(self.weighted.bias.astype(np.int64))
        return int((w * self.input.largest + b).max())

    def wide(self) -> dict[str, tuple[int, int]]:
        """Exponent and largest magnitude of each value: those that come in, and what is
        added and multiplied before it is brought back."""
        known = {
            name: (kind.exponent, kind.largest)
            for name, kind in zip(self.step.inputs, self.inputs, strict=True)
        }
        for node in self.step.nodes:
            if isinstance(node, Add | Mul):
                known[node.name] = _combined(node, *(known[name] for name in node.inputs))
        return known


def _joined(inputs: Sequence[Format]) -> Format:
    """Format of values side by side: it is capped only if all of them are."""
    caps = {kind.cap for kind in inputs}
    return inputs[0] if len(caps) == 1 else replace(inputs[0], cap=None)


def _combined(node: Node, a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    if isinstance(node, Mul):
        return a[0] + b[0], a[1] * b[1]
    low = min(a[0], b[0])
    return low, (a[1] << (a[0] - low)) + (b[1] << (b[0] - low))


@dataclass(frozen=True, kw_only=True, eq=False)
class IntNetwork:
    """A network of integers: uint8 pixels (B, *input_shape) -> 8-bit outputs (B, F).

    Invariants, checked when it is made: every array has the shape, type and range that
    its node asks for; no sum can leave 32 bits, no sum or product of values 24; every
    multiplier and shift rounds in float32 as it does in integers, so that runtimes that
    use float32 agree; values side by side lie on one grid.
    """

    network: Network
    # By the name of the weights, for each product (`configs.program.Product.weights`).
    weighted: Mapping[str, Weighted]
    # By `owner`, for each Activate that brings back anything else.
    activated: Mapping[str, Activated] = field(default_factory=dict)
    # Names of the classes; () for regression.
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_deployable(self.network)
        _require_names("weighted", self.weighted, self.program.weighted)
        _require_names("activated", self.activated, rescaling(self.program))
        for name in sorted(self.weighted.keys() & self.activated.keys()):
            raise InputError(
                f"`{name}` must name weights or what an activation holds, not both; give "
                f"the product other `weights`, or the activation a `part` or `shares`."
            )
        outputs = self.network.output_shape[-1]
        if self.classes and len(self.classes) != outputs:
            raise InputError(
                f"`classes` (={len(self.classes)} names) must name each of the {outputs} "
                f"outputs; give one name per output, or none."
            )
        for step in self.walk():
            _check(step)

    @property
    def program(self) -> Program:
        return self.network.program

    def walk(self) -> Iterator[IntStep]:
        """Steps in order."""
        yield from self._steps

    @cached_property
    def _steps(self) -> tuple[IntStep, ...]:
        formats, found = self.starts, []
        by_name = self.program.by_name
        for step in self.program.steps:
            node = step.activate
            weighted = self.weighted[step.product.weights] if step.product else None
            activated = self.activated[node.owner] if node and not weighted else None
            inputs = tuple(formats[name] for name in step.inputs)
            numbers = weighted or activated
            formats[step.name] = numbers.output if numbers else _joined(inputs)
            found.append(
                IntStep(
                    step=step,
                    inputs=inputs,
                    input_shapes=tuple(by_name[name].shape for name in step.inputs),
                    output=formats[step.name],
                    weighted=weighted,
                    activated=activated,
                )
            )
        return tuple(found)

    @property
    def starts(self) -> dict[str, Format]:
        """Formats of what no step makes: the pixels and the states."""
        return {
            node.name: PIXELS if isinstance(node, Input) else Format.of(node.grid)
            for node in self.program.nodes
            if isinstance(node, Input | State)
        }

    def formats(self) -> dict[str, Format]:
        """Format of every value, but of exact sums and products."""
        found = self.starts
        for step in self._steps:
            inside = step.step.nodes[:-1]
            found |= {n.name: step.input for n in inside if isinstance(n, KEEPS_GRID)}
            found[step.name] = step.output
        return found

    @property
    def output(self) -> Format:
        return self._steps[-1].output

    def numbers(self) -> dict[str, Weighted | Activated]:
        """Everything that is held, by name, in order; of shared weights once."""
        found = {}
        for step in self.walk():
            if step.owner is not None:
                found.setdefault(step.owner, step.numbers)
        return found

    def packed_bytes(self) -> int:
        """The same with the weights of a layer side by side, the last byte filled up."""
        narrow = sum(
            -(-w.weight_bits * w.weights.size // 8) - w.weights.nbytes
            for w in self.weighted.values()
        )
        return self.size_bytes() + narrow

    def size_bytes(self) -> int:
        """Bytes of all integers in their containers."""
        return sum(
            array.nbytes
            for one in self.numbers().values()
            for array in one.tensors().values()
        )


def rescaling(program: Program) -> dict[str, Activate]:
    """Every Activate that brings back something other than a product's sums, by the owner
    of its numbers; of those that share them the first."""
    by_name, found = program.by_name, {}
    for node in program.nodes:
        if isinstance(node, Activate) and not isinstance(by_name[node.input], Product):
            found.setdefault(node.owner, node)
    return found


def require_deployable(network: Network) -> None:
    """Refuses a network that must be lowered first (`train.lowering`)."""
    for node in network.program.products:
        for name in ("symmetry", "norm"):
            value = getattr(node, name)
            if value != "none":
                raise InputError(
                    f"`{name}` (={value}) of {node.layer} cannot be quantised as it "
                    f"stands; lower the trained network to ordinary layers first."
                )


def _require_names(field_: str, given: Mapping, wanted: Mapping) -> None:
    if set(given) != set(wanted):
        odd = sorted(set(wanted) ^ set(given))[0]
        raise InputError(
            f"`{field_}` must name {', '.join(sorted(wanted)) or 'nothing'}"
            f"; {odd} is {'missing' if odd in wanted else 'not one of them'}."
        )


def _check(step: IntStep) -> None:
    """Refuses a step whose numbers break an invariant."""
    if step.weighted:
        _check_product(step)
    if step.activated:
        _check_activated(step)
    concat = step.step.find(Concat)
    if concat:
        same = len({replace(kind, cap=None) for kind in step.inputs}) == 1
        _expect(step, "inputs", same, step.inputs, "of one format")


def _check_activated(step: IntStep) -> None:
    found = step.wide()
    worst = max(largest for _, largest in found.values())
    _expect(step, "sum", worst < WIDE_LIMIT, worst, "below 2^24")
    _check_function(step, step.activated)


def _check_function(step: IntStep, w: Weighted | Activated) -> None:
    """Formats and table of the function that brings a value back."""
    node = step.step.activate
    function = node.function
    unsigned = function in UNSIGNED_ACTIVATIONS
    for name, grid, kind in (("sum", node.before, w.sum), ("output", node.after, w.output)):
        fits = grid is None or kind == Format.of(grid)
        _expect(step, name, fits, kind, f"the given grid, {grid}")
    if node.after is None:
        sort = "unsigned" if unsigned else "signed"
        signs = w.output.signed is not unsigned
        _expect(step, "output", signs, w.output, f"{sort} after {function}")
    capped = cap_of(function, w.output)
    _expect(step, "cap", w.output.cap == capped, w.output.cap, f"{capped} of {function}")
    if function in DIRECT_ACTIVATIONS:
        _expect(step, "table", w.table is None, "an array", f"None for {function}")
        _expect(step, "sum", w.sum == w.output, w.sum, f"the output's, {w.output}")
    else:
        whole = w.sum.signed and w.sum.bits == 8
        _expect(step, "sum", whole, w.sum, "int8 of 8 bits, the index of the table")
        _expect(step, "table", w.table is not None, None, f"given for {function}")
        _array(step, w, "table", w.output.dtype, (256,), w.output.low, w.output.high)


def cap_of(function: str, kind: Format) -> int | None:
    """Largest integer that a function gives on a grid, if that is not the grid's own."""
    if function != "relu6":
        return None
    largest = math.floor(math.ldexp(6.0, -kind.exponent))
    return largest if largest < Integers.high.fget(kind) else None


def _check_product(step: IntStep) -> None:
    node, w = step.product, step.weighted
    for name, allowed in (("shift", SHIFTS), ("weight_bits", range(2, 9))):
        value = getattr(w, name)
        fits = type(value) is int and value in allowed
        rule = f"in {allowed[0]}..{allowed[-1]}"
        _expect(step, name, fits, value, rule)
    features = (node.features,)
    _array(step, w, "weights", np.int8, node.weight_shape, -w.weight_high, w.weight_high)
    _array(step, w, "bias", np.int32, features, -(2**31) + 1, 2**31 - 1)
    _array(step, w, "multiplier", np.int32, features, 1, 65535)
    _check_function(step, w)
    none = node.biased or not w.bias.any()
    _expect(step, "bias", none, "other numbers", "0: the product has no bias")
    bound = step.accumulator_bound()
    _expect(step, "accumulator", bound < ACCUMULATOR_LIMIT, bound, "below 2^31")
    for multiplier in np.unique(w.multiplier) if w.shift > 16 else ():
        agrees = agrees_with_float32(int(multiplier), w.shift, w.sum.low, w.sum.high)
        _expect(
            step, "multiplier", agrees, int(multiplier),
            f"one that rounds in float32 as in integers at shift {w.shift}",
        )  # fmt: skip


def _array(
    step: IntStep, w: Weighted | Activated, name: str, dtype, shape: tuple, low: int,
    high: int,
) -> None:  # fmt: skip
    array = getattr(w, name)
    fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape
    found = f"{getattr(array, 'dtype', type(array))}{list(getattr(array, 'shape', ()))}"
    _expect(step, name, fits, found, f"{np.dtype(dtype)}{list(shape)}")
    worst = array.flat[np.argmax(np.abs(array.astype(np.int64) - (low + high) / 2))]
    _expect(step, name, bool(low <= worst <= high), int(worst), f"in {low}..{high}")


def _expect(step: IntStep, name: str, rule: bool, value: object, rest: str) -> None:
    if not rule:
        raise InputError(
            f"`{step.name}.{name}` (={brief(value)}) must be {rest}; quantise the run "
            f"again."
        )
