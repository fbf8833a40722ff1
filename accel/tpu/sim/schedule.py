"""From a network to the steps that the TPU works off, in the compiler's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from accel.tpu.isa.layout import is_chain, is_part, is_wide, means_shape
from accel.tpu.machine import TpuMachine
from accel.tpu.sim.work import Barrier, Product, Read, Step, Vector, Write
from accel.workload.gemm import Gemm, gemms
from configs import program as nodes
from configs.checks import brief
from configs.errors import InputError
from configs.network import Network
from configs.program import Node, Program, entry


def steps(
    network: Network | Sequence[Gemm],
    images: int,
    machine: TpuMachine,
    *,
    speed: int = 1,
    batches: int = 1,
    whole: bool = False,
) -> list[Step]:
    """`batches` of `images`, one after the other, each input arriving during the last
    layer of the batch before.

    A network whose steps are no chain (it forks, joins or keeps a state) is taken as its
    matrix products alone, one after the other, as the paper's model is: the host sends
    the rows of the first and gets those of the last. With `whole` it is everything that
    the compiled program of its integers does. At a `speed` of 2 or 4 activations have 2
    bytes, else 1.

    Raises:
      InputError: `images` or `batches` is not positive, or an operator is unknown.
    """
    for name, value in (("images", images), ("batches", batches)):
        if type(value) is not int or value < 1:
            raise InputError(f"`{name}` (={brief(value)}) must be 1 or more.")
    element = 1 if speed == 1 else 2
    layers, read, written = _layers(network, images, machine, speed, element, whole)
    last = max(
        i for i, layer in enumerate(layers) if any(isinstance(s, Product) for s in layer)
    )
    line = _Line()
    line.add(Read(bytes=read))
    for batch in range(batches):
        for number, layer in enumerate(layers):
            if number == last and batch + 1 < batches:
                line.sync()
                line.add(Read(bytes=read))
                # The next batch waits for it, this layer does not.
                line.waited = True
            for step in layer:
                line.sync()
                line.add(step)
        line.add(Write(bytes=written))
    return line.steps


def with_tiles(steps: Sequence[Step], weights: int, tiles: int) -> list[Step]:
    """The same with other sums of weights and tiles, spread in proportion.

    A layer keeps its tiles of K; its last block of output columns may have fewer.
    """
    products = [step for step in steps if isinstance(step, Product)]
    # Layers come again in every batch.
    first = {product.name: product for product in products}
    total = sum(product.weights for product in first.values())
    changed, before = {}, 0
    for name, product in first.items():
        after = before + product.weights
        share = _between(before, after, total, weights)
        count = max(_between(before, after, total, tiles), 1)
        k_tiles = min(product.groups[0][0], count)
        groups = ((k_tiles, count // k_tiles), (count % k_tiles, 1))
        kept = tuple(group for group in groups if min(group) > 0)
        changed[name] = replace(product, weights=share, groups=kept)
        before = after
    return [changed[s.name] if isinstance(s, Product) else s for s in steps]


def _between(before: int, after: int, total: int, whole: int) -> int:
    """Part of a whole number; parts add up to it. Each end is rounded to the nearest."""
    return (2 * whole * after + total) // (2 * total) - (2 * whole * before + total) // (
        2 * total
    )


@dataclass
class _Line:
    """Steps so far; a Sync goes before what must wait, unless nothing is new."""

    steps: list[Step] = field(default_factory=list)
    waited: bool = True

    def add(self, step: Step) -> None:
        self.steps.append(step)
        if isinstance(step, Read | Product | Vector):
            self.waited = False

    def sync(self) -> None:
        if not self.waited:
            self.steps.append(Barrier())
            self.waited = True


def is_placed(network: Network | Sequence[Gemm], whole: bool) -> bool:
    """Whether maps are placed: of chains, and of any network where it is taken whole."""
    return isinstance(network, Network) and (whole or is_chain(network.program))


def _layers(
    network: Network | Sequence[Gemm],
    images: int,
    machine: TpuMachine,
    speed: int,
    element: int,
    whole: bool,
) -> tuple[list[list[Step]], int, int]:
    """Steps of each layer, and the bytes that the host sends and gets."""
    if not is_placed(network, whole):
        found = gemms(network, images) if isinstance(network, Network) else list(network)
        _require_batch(found, images)
        made = [[_product(gemm, machine, speed)] for gemm in found]
        sent, got = found[0].M * found[0].K, found[-1].M * found[-1].N
        return made, sent * element, got * element
    program = network.program
    place = _Place(
        program=program, images=images, machine=machine, speed=speed, element=element
    )
    made, seen = [], set()
    for step in program.steps:
        for name in step.inputs:
            if isinstance(program.by_name[name], nodes.State) and name not in seen:
                seen.add(name)
                made.append([place.vector(name)])
        if not is_part(step, program):
            found: list[Step] = []
            for node in step.nodes:
                rule = entry(_RULES, node, "accel.tpu.sim.schedule")
                found += rule(place, step, node)
            made.append(found)
    ends = program.input.name, program.output.name
    return made, *(place.bytes(name) for name in ends)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A program on a machine: how much its values are."""

    program: Program
    images: int
    machine: TpuMachine
    speed: int
    element: int

    def bytes(self, name: str) -> int:
        size = max(self.element, 1 + is_wide(name, self.program))
        return self.images * self.program.by_name[name].size * size

    def vector(self, *names: str) -> Vector:
        """The activation unit reads some values, or writes one of zeros."""
        side = self.machine.side
        return Vector(rows=sum(-(-self.bytes(name) // side) for name in names))


def _pad(place: _Place, step: nodes.Step, node: nodes.Pad) -> Iterator[Step]:
    """The means of channels, where these pad. A product pads as it reads; for others the
    map is moved into a larger one."""
    if means_shape(step, place.program):
        yield place.vector(node.input)
    if step.product is None:
        yield place.vector(node.input)


def _multiplied(place: _Place, step: nodes.Step, node: nodes.Product) -> Iterator[Step]:
    gemm = product_of(step, node, place.images)
    yield _product(gemm, place.machine, place.speed)


def product_of(step: nodes.Step, node: nodes.Product, images: int) -> Gemm:
    """The matrix product of a step."""
    return Gemm(step.name, images, node.positions, node.K, node.N, node.repeats)


def _activated(place: _Place, step: nodes.Step, node: nodes.Activate) -> Iterator[Step]:
    """Sums of a product are activated with it; else every value comes in by itself."""
    if step.product is None:
        made = {one.name for one in step.nodes}
        taken = [n for one in step.nodes for n in one.inputs if n not in made]
        yield place.vector(*taken)


def _pooled(place: _Place, step: nodes.Step, node: nodes.Pool) -> Iterator[Step]:
    yield place.vector(node.input)


def _copied(place: _Place, step: nodes.Step, node: nodes.Slice) -> Iterator[Step]:
    yield place.vector(node.name)


def _joined(place: _Place, step: nodes.Step, node: nodes.Concat) -> Iterator[Step]:
    yield from (place.vector(name) for name in node.inputs)


def _nothing(place: _Place, step: nodes.Step, node: Node) -> Iterator[Step]:
    """Done where the value is brought back, or no work at all."""
    yield from ()


_RULES: dict[type[Node], Callable[..., Iterator[Step]]] = {
    nodes.Pad: _pad,
    nodes.Product: _multiplied,
    nodes.Activate: _activated,
    nodes.Pool: _pooled,
    nodes.Reshape: _nothing,
    nodes.Slice: _copied,
    nodes.Concat: _joined,
    nodes.Add: _nothing,
    nodes.Mul: _nothing,
}


def _require_batch(found: Sequence[Gemm], images: int) -> None:
    for gemm in found:
        if gemm.images != images:
            raise InputError(
                f"`images` (={gemm.images}) of {gemm.name} must be the batch's, {images}; "
                f"make the products for that batch."
            )


def _product(gemm: Gemm, machine: TpuMachine, speed: int) -> Product:
    k_tiles, n_tiles = -(-gemm.K // machine.side), -(-gemm.N // machine.side)
    return Product(
        name=gemm.name,
        rows=gemm.M,
        groups=((k_tiles, n_tiles * gemm.repeats),),
        weights=gemm.K * gemm.N * gemm.repeats,
        speed=speed,
    )
