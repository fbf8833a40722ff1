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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from configs.checks import brief, check_types, require
from configs.errors import InputError
from configs.network import LayerInfo, Network
from quant.certificate import agrees_with_float32
from train.unsupported import refuse_unsupported

# Accumulators are 32-bit registers.
ACCUMULATOR_LIMIT = 2**31
# Shifts for which `acc * multiplier`, clipped where the output saturates, fits int32.
# Up to 16 every multiplier rounds in float32 as in integers; beyond, some do.
SHIFTS = range(8, 22)
# Exponents for which every scale of every exported file is a normal float32.
_EXPONENTS = range(-32, 33)
# Outputs of these activations are never negative.
UNSIGNED_ACTIVATIONS = ("relu", "sigmoid", "softplus")
# Requantisation alone is the activation; all others look up a table.
DIRECT_ACTIVATIONS = ("identity", "relu")


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
    # Width: values of fewer than 8 bits still live in 8-bit containers.
    bits: int = 8

    def __post_init__(self) -> None:
        check_types(self)
        require(self, 2 <= self.bits <= 8, "bits", "must be in 2..8.")

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
        return np.dtype(np.int8 if self.signed else np.uint8)


@dataclass(frozen=True, kw_only=True)
class Format(Integers):
    """Integers q in low..high that stand for the real numbers q * 2^exponent."""

    exponent: int

    def __post_init__(self) -> None:
        super().__post_init__()
        inside = self.exponent in _EXPONENTS
        require(self, inside, "exponent", "must be in -32..32: scales beyond are no use.")

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


@dataclass(frozen=True, kw_only=True)
class IntLayer:
    """One layer in its place: shapes, the formats around it, its numbers if it has any."""

    info: LayerInfo
    input: Format
    output: Format
    # None for pooling and flattening, which keep the format.
    weighted: Weighted | None

    @property
    def name(self) -> str:
        return self.info.name

    def weight_scale(self) -> np.ndarray:
        """Real value of one step of each feature's weights, float64 (F,), exact."""
        exponent = self.weighted.sum.exponent - self.input.exponent - self.weighted.shift
        return np.ldexp(self.weighted.multiplier.astype(np.float64), exponent)

    def accumulator_bound(self) -> int:
        """Largest magnitude that any input can give any sum, partial ones included."""
        w = np.abs(self.weighted.matrix.astype(np.int64)).sum(0)
        b = np.abs(self.weighted.bias.astype(np.int64))
        return int((w * self.input.largest + b).max())


@dataclass(frozen=True, kw_only=True, eq=False)
class IntNetwork:
    """A network of integers: uint8 pixels (B, *input_shape) -> 8-bit outputs (B, F).

    Invariants, checked when it is made: every array has the shape, type and range that
    its layer asks for; no sum can leave 32 bits; every multiplier and shift rounds in
    float32 as it does in integers, so that runtimes that use float32 agree.
    """

    network: Network
    # By name, for each layer with weights.
    weighted: Mapping[str, Weighted]
    # Names of the classes; () for regression.
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_unsupported(self.network, "quantised")
        names = {info.name for info in self.network.walk() if info.weights}
        if names != set(self.weighted):
            odd = sorted(names ^ set(self.weighted))[0]
            raise InputError(
                f"`weighted` must name the layers with weights ({', '.join(sorted(names))})"
                f"; {odd} is {'missing' if odd in names else 'not one of them'}."
            )
        outputs = self.network.output_shape[-1]
        if self.classes and len(self.classes) != outputs:
            raise InputError(
                f"`classes` (={len(self.classes)} names) must name each of the {outputs} "
                f"outputs; give one name per output, or none."
            )
        for layer in self.walk():
            if layer.weighted:
                _check(layer)

    def walk(self) -> Iterator[IntLayer]:
        """Layers in order."""
        before = PIXELS
        for info in self.network.walk():
            weighted = self.weighted.get(info.name)
            after = weighted.output if weighted else before
            yield IntLayer(info=info, input=before, output=after, weighted=weighted)
            before = after

    @property
    def output(self) -> Format:
        return list(self.walk())[-1].output

    def packed_bytes(self) -> int:
        """The same with the weights of a layer side by side, the last byte filled up."""
        return sum(
            -(-w.weight_bits * w.weights.size // 8)
            + sum(a.nbytes for name, a in w.tensors().items() if name != "weights")
            for w in self.weighted.values()
        )

    def size_bytes(self) -> int:
        """Bytes of all integers in their containers."""
        return sum(
            array.nbytes for w in self.weighted.values() for array in w.tensors().values()
        )


def _check(layer: IntLayer) -> None:
    """Refuses a layer whose numbers break an invariant."""
    info, w = layer.info, layer.weighted
    spec = info.spec
    inputs = info.input_shape[-1]
    shape = (*getattr(spec, "kernel", ()), inputs, spec.features)
    for name, allowed in (("shift", SHIFTS), ("weight_bits", range(2, 9))):
        value = getattr(w, name)
        fits = type(value) is int and value in allowed
        rule = f"in {allowed[0]}..{allowed[-1]}"
        _expect(layer, name, fits, value, rule)
    _array(layer, "weights", np.int8, shape, -w.weight_high, w.weight_high)
    _array(layer, "bias", np.int32, (spec.features,), -(2**31) + 1, 2**31 - 1)
    _array(layer, "multiplier", np.int32, (spec.features,), 1, 65535)
    direct = spec.activation in DIRECT_ACTIVATIONS
    unsigned = spec.activation in UNSIGNED_ACTIVATIONS
    signs = w.output.signed is not unsigned
    sort = "unsigned" if unsigned else "signed"
    _expect(layer, "output", signs, w.output, f"{sort} after {spec.activation}")
    if direct:
        _expect(layer, "table", w.table is None, "an array", f"None for {spec.activation}")
        _expect(layer, "sum", w.sum == w.output, w.sum, f"the output's, {w.output}")
    else:
        whole = w.sum.signed and w.sum.bits == 8
        _expect(layer, "sum", whole, w.sum, "int8 of 8 bits, the index of the table")
        _expect(layer, "table", w.table is not None, None, f"given for {spec.activation}")
        _array(layer, "table", w.output.dtype, (256,), w.output.low, w.output.high)
    bound = layer.accumulator_bound()
    _expect(layer, "accumulator", bound < ACCUMULATOR_LIMIT, bound, "below 2^31")
    for multiplier in np.unique(w.multiplier) if w.shift > 16 else ():
        agrees = agrees_with_float32(int(multiplier), w.shift, w.sum.low, w.sum.high)
        _expect(
            layer, "multiplier", agrees, int(multiplier),
            f"one that rounds in float32 as in integers at shift {w.shift}",
        )  # fmt: skip


def _array(layer: IntLayer, name: str, dtype, shape: tuple, low: int, high: int) -> None:
    array = getattr(layer.weighted, name)
    fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape
    found = f"{getattr(array, 'dtype', type(array))}{list(getattr(array, 'shape', ()))}"
    _expect(layer, name, fits, found, f"{np.dtype(dtype)}{list(shape)}")
    worst = array.flat[np.argmax(np.abs(array.astype(np.int64) - (low + high) / 2))]
    _expect(layer, name, bool(low <= worst <= high), int(worst), f"in {low}..{high}")


def _expect(layer: IntLayer, name: str, rule: bool, value: object, rest: str) -> None:
    if not rule:
        raise InputError(
            f"`{layer.name}.{name}` (={brief(value)}) must be {rest}; quantise the run "
            f"again."
        )
