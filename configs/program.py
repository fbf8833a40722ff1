"""A network as a program: nodes of few operators in single assignment.

Layers are sugar: each kind says in `configs/layers/` which operators it is, and is not
heard of again. Shapes, weights, multiplications and edges exist once, here; whoever
consumes a network (training, integers, exports, bounds, machines) is a table from operator
to function, and refuses an operator that it has no entry for by name.

    Input                pixels or numbers from outside
    State                what a recurrence starts with: zeros on a grid that is given
    Pad                  rows and columns around a map
    Product              sums of products with weights, and a bias: convolution or dense
    Activate             a function of one variable; in integers: a value on a new grid
    Pool                 largest or mean value of each window
    Reshape, Slice       the same values, or some of them, in another shape
    Concat               values side by side
    Add, Mul             of two values, element by element

Dimension key as in `network.py`. Standard library only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from configs.checks import brief, check_types, require, require_positive
from configs.errors import InputError, unknown

Shape = tuple[int, ...]
Pair = tuple[int, int]
# Rows before and after the data along one axis.
Ends = tuple[int, int]

Function = Literal["identity", "relu", "relu6", "softplus", "sigmoid", "tanh", "tanh_half"]
# Functions whose values are never negative.
UNSIGNED: tuple[Function, ...] = ("relu", "relu6", "sigmoid", "softplus")
Symmetry = Literal["none", "lift", "p4"]
# Turns by 90 degrees in the symmetry "p4".
ORIENTATIONS = 4


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Integers q of a width that stand for q * 2^exponent: where a value must lie."""

    signed: bool
    bits: int
    exponent: int

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator; `name` is the value it makes."""

    name: str
    # Path of the layer that it comes from.
    layer: str
    # Names of the values it takes.
    inputs: tuple[str, ...] = ()
    # Of the value, without the batch.
    shape: Shape

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.name), "name", "must not be empty.")
        require_positive(self, "shape")

    @property
    def input(self) -> str:
        """The value it takes, of an operator that takes one."""
        (only,) = self.inputs
        return only

    @property
    def op(self) -> str:
        return type(self).__name__

    @property
    def size(self) -> int:
        """Numbers of one image in the value."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Input(Node):
    """What the network is given."""


@dataclass(frozen=True, kw_only=True)
class State(Node):
    """Zeros: what a recurrence starts with, unless it is given something else."""

    grid: Grid


@dataclass(frozen=True, kw_only=True)
class Pad(Node):
    """Rows and columns around a map (H, W, C)."""

    # What stands there: zeros, the mean of the channel, or the nearest value inside.
    kind: Literal["zero", "mean", "edge"]
    # Rows at the top and bottom, columns at the left and right.
    pads: tuple[Ends, Ends]


@dataclass(frozen=True, kw_only=True)
class Product(Node):
    """sum_k x[k] w[k, f] + b[f] for every position of a window, or once.

    With a kernel the input is a map (H, W, C) and the weights are (R, S, C / groups, F);
    without one it is a vector (K,) and they are (K, F). Exactly one Activate reads it.
    """

    # Window R x S; None for a vector.
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    # Distance of neighbouring taps.
    dilation: Pair = (1, 1)
    # Parts that channels and features fall into, each with weights of its own.
    groups: int = 1
    # Matrix products that the features of a vector are computed by, side by side.
    parts: int = 1
    # Whose weights: the same for all nodes that share them.
    weights: str
    # Numbers that a position meets.
    K: int
    # Whether a bias is added to the sums.
    biased: bool = True
    # Orientations that share weights (`configs.layers.conv`).
    symmetry: Symmetry = "none"
    # "batch": what is trained has no bias of its own; its sums are normalised by mean and
    # variance of the batch, then scaled and shifted. Folded before anything is deployed.
    norm: Literal["none", "batch"] = "none"

    @property
    def features(self) -> int:
        return self.shape[-1]

    @property
    def positions(self) -> int:
        """Rows of the matrix product for one image: P * Q."""
        return math.prod(self.shape[:-1])

    @property
    def repeats(self) -> int:
        """Matrix products of one size that it consists of."""
        return self.groups * self.parts

    @property
    def N(self) -> int:
        """Columns of one of them."""
        return self.features // self.repeats

    @property
    def weight_shape(self) -> Shape:
        """As they are deployed, symmetry written out."""
        kernel = self.kernel or ()
        return (*kernel, self.K // math.prod(kernel), self.features)

    @property
    def depthwise(self) -> bool:
        """Whether each feature sees one channel."""
        return self.groups > 1 and math.prod(self.kernel or ()) == self.K

    @property
    def macs(self) -> int:
        return self.positions * self.K * self.features

    def counts(self) -> tuple[int, int]:
        """Independent weights, and what is learned beside them."""
        shared = 1 if self.symmetry == "none" else ORIENTATIONS
        maps = self.features if self.kernel is None else self.features // shared
        beside = maps * (self.biased + (self.norm == "batch"))
        return self.K * self.features // shared, beside


@dataclass(frozen=True, kw_only=True)
class Activate(Node):
    """function(x), element by element.

    In integers it brings a value to a grid of its own; `before` and `after` give the
    grids of the function's argument and of its value where they must not be chosen.
    """

    function: Function
    before: Grid | None = None
    after: Grid | None = None
    # Whose grids and table: the same for all nodes that share them; "" is its own.
    shares: str = ""

    @property
    def owner(self) -> str:
        return self.shares or self.name

    @property
    def signed(self) -> bool:
        return self.after.signed if self.after else self.function not in UNSIGNED


@dataclass(frozen=True, kw_only=True)
class Pool(Node):
    """Largest or mean value of each window of a map; zeros stand where it is padded.

    A zero never wins against a value inside, and counts as a zero in a mean.
    """

    kind: Literal["max", "mean"]
    window: Pair
    stride: Pair
    pads: tuple[Ends, Ends] = ((0, 0), (0, 0))


@dataclass(frozen=True, kw_only=True)
class Reshape(Node):
    """The same numbers, last axis fastest."""


@dataclass(frozen=True, kw_only=True)
class Slice(Node):
    """Entries start..stop - 1 along one axis."""

    axis: int
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Concat(Node):
    """Values of one grid side by side along one axis."""

    axis: int


@dataclass(frozen=True, kw_only=True)
class Add(Node):
    """The sum of two values of one shape."""


@dataclass(frozen=True, kw_only=True)
class Mul(Node):
    """The product of two values; a vector (C,) meets every position of a map (H, W, C)."""


OPERATORS: tuple[type[Node], ...] = (
    Input, State, Pad, Product, Activate, Pool, Reshape, Slice, Concat, Add, Mul,
)  # fmt: skip
# Exact values wider than a byte, which an Activate brings back.
WIDE = (Product, Add, Mul)
# Operators of a network; a file from outside may ask for a sequence of any length.
NODES_LIMIT = 1 << 16
# Operators whose value lies on the grid of their input.
KEEPS_GRID = (Pad, Pool, Reshape, Slice, Concat)


def entry(table: Mapping[type[Node], Callable], node: Node, doer: str) -> Callable:
    """What a consumer's table has for an operator.

    Raises:
      InputError: it has nothing; names the operator and the node.
    """
    if type(node) not in table:
        raise InputError(f"`{node.name}`: {unknown(node, doer)}")
    return table[type(node)]


def require_operator(node: Node, doer: str) -> None:
    """Refuses a node of an operator that is none of `OPERATORS`."""
    if type(node) not in OPERATORS:
        raise InputError(f"`{node.name}`: {unknown(node, doer)}")


@dataclass(frozen=True, kw_only=True)
class Step:
    """Nodes that are done in one go, from bytes to bytes; named after the last.

    A padding, its product and what brings its sums back; a sum or product of values and
    what brings it back; a pooling and its new shape; every other node alone.
    """

    nodes: tuple[Node, ...]

    @property
    def name(self) -> str:
        return self.nodes[-1].name

    @property
    def shape(self) -> Shape:
        return self.nodes[-1].shape

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Values from outside, in order, each once."""
        made = {node.name for node in self.nodes}
        taken = (name for node in self.nodes for name in node.inputs if name not in made)
        return tuple(dict.fromkeys(taken))

    def find(self, kind: type) -> Any:
        """The first node of an operator, or None."""
        return next((node for node in self.nodes if isinstance(node, kind)), None)

    @property
    def product(self) -> Product | None:
        return self.find(Product)

    @property
    def activate(self) -> Activate | None:
        return self.find(Activate)


@dataclass(frozen=True, kw_only=True)
class MatrixProduct:
    """[M, K] x [K, N] of one image, `repeats` times with weights of their own each."""

    name: str
    node: Product


@dataclass(frozen=True, kw_only=True)
class Program:
    """Nodes in an order in which they can be done.

    Invariants: names are unique, a node takes values made before it, shapes follow from
    the operators, a wide value is read only by what can bring it back.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        check_types_of_nodes(self.nodes)

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """Nodes that take each value."""
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @property
    def input(self) -> Node:
        return self.nodes[0]

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    @cached_property
    def products(self) -> tuple[Product, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Product))

    @cached_property
    def weighted(self) -> Mapping[str, Product]:
        """For each set of weights the first product that uses it, in order."""
        found: dict[str, Product] = {}
        for node in self.products:
            found.setdefault(node.weights, node)
        return found

    def titles(self) -> dict[str, str]:
        """What the matrix products are called, by node: their layer, or in a layer of
        several themselves."""
        count = Counter(node.layer for node in self.products)
        return {
            node.name: node.layer
            if count[node.layer] == 1
            else node.name.removesuffix(".sum")
            for node in self.products
        }

    def title(self, node: Product) -> str:
        """What a matrix product is called."""
        return self.titles()[node.name]

    @property
    def weights(self) -> int:
        return sum(node.counts()[0] for node in self.weighted.values())

    @property
    def parameters(self) -> int:
        return sum(sum(node.counts()) for node in self.weighted.values())

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.products)

    def root(self, name: str) -> Node:
        """Where the grid of a value was decided: an Input, a State or an Activate (for a
        Concat that of its first part)."""
        node = self.by_name[name]
        while isinstance(node, KEEPS_GRID):
            node = self.by_name[node.inputs[0]]
        return node

    def grids(self) -> dict[str, str]:
        """For each value that could choose a grid the one whose grid it has: its own, but
        for values that stand side by side somewhere, which share the first one's."""
        owner = {n.name: n.name for n in self.nodes if isinstance(n, Activate | State)}

        def find(name: str) -> str:
            while owner[name] != name:
                name = owner[name]
            return name

        for node in self.nodes:
            if not isinstance(node, Concat):
                continue
            ends = [find(root.name) for root in self._roots(node.name)]
            first = min(ends, key=[n.name for n in self.nodes].index)
            for end in ends:
                owner[end] = first
        return {name: find(name) for name in owner}

    def _roots(self, name: str) -> Iterator[Node]:
        """Every node that decided the grid of a part of a value."""
        node = self.by_name[name]
        if isinstance(node, KEEPS_GRID):
            for part in node.inputs:
                yield from self._roots(part)
        else:
            yield node

    def chained(self, node: Product) -> bool:
        """Whether its input is the product before it, and nobody else uses that."""
        before = self.products.index(node) - 1
        at = self.by_name[node.input]
        while isinstance(at, (Pad, Activate, Pool, Reshape)):
            if len(self.readers[at.name]) != 1:
                return False
            at = self.by_name[at.inputs[0]]
        return before >= 0 and at is self.products[before]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """All nodes but inputs and states, those that are done in one go together."""
        joined: dict[str, list[Node]] = {}
        for node in self.nodes:
            if isinstance(node, Input | State):
                continue
            mine = [
                part for name in node.inputs for part in self._joins(name, node, joined)
            ]
            joined[node.name] = [*mine, node]
        return tuple(Step(nodes=tuple(nodes)) for nodes in joined.values())

    def _joins(self, name: str, node: Node, joined: dict[str, list[Node]]) -> list[Node]:
        """The nodes of an input that are done together with a node, taken out."""
        before = self.by_name[name]
        alone = len(self.readers[name]) == 1
        same = before.layer == node.layer
        fits = (
            isinstance(before, WIDE)
            or (isinstance(before, Pad) and isinstance(node, Product) and alone)
            or (isinstance(before, Pool | Slice) and isinstance(node, Reshape)
                and alone and same)
        )  # fmt: skip
        return joined.pop(name, []) if fits else []


def check_types_of_nodes(nodes: Sequence[Node]) -> None:
    """Refuses nodes that are no program."""
    made: dict[str, Node] = {}
    uses: dict[str, list[Node]] = {}
    if not nodes or not isinstance(nodes[0], Input):
        raise InputError(
            f"`nodes` (={brief([n.name for n in nodes])}) must begin with an Input; add it."
        )
    for node in nodes:
        if node.name in made:
            raise InputError(f"`{node.name}` must be made once, not twice; rename one.")
        for name in node.inputs:
            if name not in made:
                raise InputError(
                    f"`{node.name}` takes `{name}`, which must be made before it; put it "
                    f"earlier."
                )
            uses.setdefault(name, []).append(node)
        expected = shape_of(node, [made[name] for name in node.inputs])
        if node.shape != expected:
            raise InputError(
                f"`shape` (={node.shape}) of `{node.name}` must be {expected}, which its "
                f"inputs give; correct it."
            )
        made[node.name] = node
    for name, node in made.items():
        readers = uses.get(name, [])
        if isinstance(node, WIDE):
            allowed = Activate if isinstance(node, Product) else (Activate, Add)
            if len(readers) != 1 or not isinstance(readers[0], allowed):
                found = ", ".join(f"`{r.name}` ({r.op})" for r in readers) or "nothing"
                raise InputError(
                    f"`{name}` ({node.op}) must be read by one Activate, which brings it "
                    f"back to a byte, not by {found}; activate it first."
                )
    for node in nodes[1:-1]:
        if node.name not in uses and not isinstance(node, State):
            raise InputError(f"`{node.name}` must be used by a later node; leave it out.")


# ------------------------------------------------------------------ shapes, once


def _windows(size: int, kernel: int, stride: int, dilation: int = 1) -> int:
    return (size - (kernel - 1) * dilation - 1) // stride + 1


def _padded(shape: Shape, pads: tuple[Ends, Ends]) -> Shape:
    return (shape[0] + sum(pads[0]), shape[1] + sum(pads[1]), *shape[2:])


def _product_shape(node: Product, x: Node) -> Shape:
    if node.kernel is None:
        if len(x.shape) != 1:
            raise InputError(
                f"`{node.name}` without a kernel must take a vector, not `{x.name}` of "
                f"shape {x.shape}; reshape it."
            )
        inputs = x.shape[-1]
        if inputs != node.K:
            raise InputError(
                f"`K` (={node.K}) of `{node.name}` must be the {inputs} numbers of "
                f"`{x.name}`; correct it."
            )
        return (*x.shape[:-1], node.features)
    each = math.prod(node.kernel) * (x.shape[2] // node.groups)
    if each != node.K:
        raise InputError(
            f"`K` (={node.K}) of `{node.name}` must be {each}, a window of a group; "
            f"correct it."
        )
    axes = zip(x.shape[:2], node.kernel, node.stride, node.dilation, strict=True)
    return (*(_windows(*axis) for axis in axes), node.features)


def _pool_shape(node: Pool, x: Node) -> Shape:
    for ends, size in zip(node.pads, node.window, strict=True):
        if max(ends) >= size:
            raise InputError(
                f"`pads` (={node.pads}) of `{node.name}` must be smaller than its window "
                f"{node.window}, or windows would hold nothing of `{x.name}`; pad less."
            )
    padded = _padded(x.shape, node.pads)
    axes = zip(padded[:2], node.window, node.stride, strict=True)
    return (*(_windows(*axis) for axis in axes), x.shape[2])


def _reshape_shape(node: Reshape, x: Node) -> Shape:
    if node.size != x.size:
        raise InputError(
            f"`shape` (={node.shape}) of `{node.name}` must hold the {x.size} numbers of "
            f"`{x.name}`; correct it."
        )
    return node.shape


def _slice_shape(node: Slice, x: Node) -> Shape:
    if not (0 <= node.axis < len(x.shape) and 0 <= node.start < node.stop):
        raise InputError(f"`{node.name}` must cut out a part of `{x.name}`; correct it.")
    size = min(node.stop, x.shape[node.axis]) - node.start
    return (*x.shape[: node.axis], size, *x.shape[node.axis + 1 :])


def _concat_shape(node: Concat, *xs: Node) -> Shape:
    first, axis = xs[0].shape, node.axis
    rests = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs}
    if len(rests) != 1 or not 0 <= axis < len(first):
        shapes = ", ".join(str(x.shape) for x in xs)
        raise InputError(
            f"`{node.name}` puts {shapes} side by side along axis {axis}: all other axes "
            f"must be equal; use the same strides and paddings."
        )
    whole = sum(x.shape[axis] for x in xs)
    return (*first[:axis], whole, *first[axis + 1 :])


def _add_shape(node: Add, a: Node, b: Node) -> Shape:
    if a.shape != b.shape:
        raise InputError(
            f"`{node.name}` adds {a.shape} to {b.shape}: the shapes must be equal."
        )
    return a.shape


def _mul_shape(node: Mul, a: Node, b: Node) -> Shape:
    if b.shape not in (a.shape, a.shape[-1:]):
        raise InputError(
            f"`{node.name}` multiplies {a.shape} by {b.shape}: the second must have the "
            f"shape of the first, or be one number for each of its channels."
        )
    return a.shape


_SHAPES: dict[type[Node], Callable[..., Shape]] = {
    Input: lambda node: node.shape,
    State: lambda node: node.shape,
    Pad: lambda node, x: _padded(x.shape, node.pads),
    Product: _product_shape,
    Activate: lambda node, x: x.shape,
    Pool: _pool_shape,
    Reshape: _reshape_shape,
    Slice: _slice_shape,
    Concat: _concat_shape,
    Add: _add_shape,
    Mul: _mul_shape,
}


def shape_of(node: Node, inputs: Sequence[Node]) -> Shape:
    """The shape that a node's value has, given the nodes it takes values from."""
    rule = entry(_SHAPES, node, "configs.program")
    try:
        return rule(node, *inputs)
    except TypeError:
        raise InputError(
            f"`{node.name}` ({node.op}) cannot take {len(inputs)} values; correct it."
        ) from None


# ------------------------------------------------------------------ making one


class Misplaced(InputError):
    """A refusal that names its place in the network itself."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A layer in its place: what it takes and makes, and the nodes between."""

    name: str
    spec: Any
    input: str
    output: str
    # Positions of its nodes in the program.
    first: int
    stop: int
    # Blocks that it stands in; 0 for a layer of the network itself.
    depth: int


@dataclass
class Builder:
    """A program as far as it is written; layers add their operators to it."""

    nodes: list[Node] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    # Path of the layer that is being lowered, and where it stands in the spec.
    layer: str = ""
    where: str = ""
    # Values whose channels have orientations; whether layers have to suit them.
    oriented: set[str] = field(default_factory=set)
    checked: bool = True
    _by_name: dict[str, Node] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        return self._by_name[name].shape

    def node(self, name: str) -> Node:
        return self._by_name[name]

    def add(
        self, kind: type[Node], inputs: tuple[str, ...], /, *, part: str, **fields: Any
    ) -> str:  # fmt: skip
        """Adds an operator; gives back the name of its value: the layer's path, and
        `part` behind it where that is not its output."""
        name = f"{self.layer}.{part}" if part else self.layer
        given = [self._by_name[one] for one in inputs]
        # The shape follows; a first one of ones only fills the field.
        shape = fields.pop("shape", None)
        draft = kind(
            name=name, layer=self.layer, inputs=inputs, shape=shape or (1,), **fields
        )
        node = replace(draft, shape=shape_of(draft, given)) if shape is None else draft
        return self._append(node)

    def _append(self, node: Node) -> str:
        if len(self.nodes) == NODES_LIMIT:
            raise InputError(
                f"the network must be at most {NODES_LIMIT} operators; use fewer layers, "
                f"or shorter sequences."
            )
        self.nodes.append(node)
        self._by_name[node.name] = node
        return node.name

    def input(self, shape: Shape) -> str:
        self.layer = "input"
        return self.add(Input, (), part="", shape=shape)

    def state(self, shape: Shape, grid: Grid, part: str) -> str:
        return self.add(State, (), part=part, shape=shape, grid=grid)

    def pad(self, x: str, kind: str, pads: tuple[Ends, Ends]) -> str:
        return self.add(Pad, (x,), part="padding", kind=kind, pads=pads)

    def product(
        self, x: str, features: int, *, part: str = "sum", weights: str = "",
        kernel: Pair | None = None, groups: int = 1, **fields: Any,
    ) -> str:  # fmt: skip
        """Sums of products; their weights belong to the layer, or to `weights`."""
        taps, shape = math.prod(kernel or ()), self.shape(x)
        K = taps * (shape[-1] // groups)
        draft = Product(
            name=f"{self.layer}.{part}", layer=self.layer, inputs=(x,),
            shape=(*shape[:-1], features), weights=weights or self.layer, kernel=kernel,
            groups=groups, K=K, **fields,
        )  # fmt: skip
        return self._append(replace(draft, shape=shape_of(draft, [self._by_name[x]])))

    def activate(
        self, x: str, function: Function, *, part: str = "", before: Grid | None = None,
        after: Grid | None = None, shares: str = "",
    ) -> str:  # fmt: skip
        return self.add(
            Activate, (x,), part=part, function=function, before=before, after=after,
            shares=shares,
        )  # fmt: skip

    def pool(
        self, x: str, kind: str, window: Pair, stride: Pair,
        pads: tuple[Ends, Ends] = ((0, 0), (0, 0)), *, part: str = "",
    ) -> str:  # fmt: skip
        return self.add(
            Pool, (x,), part=part, kind=kind, window=window, stride=stride, pads=pads
        )

    def reshape(self, x: str, shape: Shape, *, part: str = "") -> str:
        return self.add(Reshape, (x,), part=part, shape=shape)

    def slice(self, x: str, axis: int, start: int, stop: int, *, part: str) -> str:
        return self.add(Slice, (x,), part=part, axis=axis, start=start, stop=stop)

    def plus(self, a: str, b: str, *, part: str = "sum") -> str:
        return self.add(Add, (a, b), part=part)

    def times(self, a: str, b: str, *, part: str = "product") -> str:
        return self.add(Mul, (a, b), part=part)

    def concat(self, xs: Sequence[str], axis: int, *, part: str = "") -> str:
        """Values side by side, all on one grid: those that cannot choose theirs, or are of
        another sign than the others, are brought to it first."""
        roots = [self._root(x) for x in xs]
        signed = any(isinstance(r, State | Activate) and _signed(r) for r in roots)
        fixed = next((g for r in roots if (g := _fixed(r))), None)
        ready = []
        for index, (x, root) in enumerate(zip(xs, roots, strict=True)):
            same = _signed(root) == signed and _fixed(root) == fixed
            if isinstance(root, Input) or not same:
                name = f"{part}.grid{index}" if part else f"grid{index}"
                function = "identity" if signed else "relu"
                x = self.activate(x, function, part=name, after=fixed)
            ready.append(x)
        return self.add(Concat, tuple(ready), part=part, axis=axis)

    def _root(self, x: str) -> Node:
        node = self._by_name[x]
        while isinstance(node, KEEPS_GRID):
            node = self._by_name[node.inputs[0]]
        return node

    def chain(self, layers: Sequence[Any], x: str, where: str, path: str = "") -> str:
        """Layers one after the other, named conv1, pool1, conv2, ...; the last value.

        Args:
          where: the field that they stand in, for messages.
          path: put before their names.
        """
        outer, seen = (self.layer, self.where), {}
        for index, spec in enumerate(layers):
            kind = type(spec).__name__.lower()
            seen[kind] = seen.get(kind, 0) + 1
            name = f"{kind}{seen[kind]}"
            self.layer = f"{path}{name}"
            inside = outer[1]
            self.where = f"{inside}.{where}[{index}]" if inside else f"{where}[{index}]"
            first, before, slot = len(self.nodes), x, len(self.placed)
            try:
                x = spec.lower(self, x)
            except Misplaced:
                raise
            except InputError as error:
                raise InputError(f"`{where}[{index}]` ({name}): {error}") from None
            oriented = spec.orients(self, before, x)
            self.oriented.discard(x)
            if oriented:
                self.oriented.add(x)
            self.placed.insert(
                slot,
                Placed(
                    name=f"{path}{name}", spec=spec, input=before, output=x, first=first,
                    stop=len(self.nodes), depth=path.count("."),
                ),
            )  # fmt: skip
        self.layer, self.where = outer
        return x


def _signed(root: Node) -> bool:
    if isinstance(root, State):
        return root.grid.signed
    return isinstance(root, Activate) and root.signed


def _fixed(root: Node) -> Grid | None:
    if isinstance(root, State):
        return root.grid
    return root.after if isinstance(root, Activate) else None
