"""From a network to the steps that the TPU works off, in the compiler's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from accel.gemm import Gemm, gemms
from accel.tpu.layout import means_shape
from accel.tpu.machine import TpuMachine
from accel.tpu.work import Barrier, Pooling, Product, Read, Step, Write
from configs.checks import brief
from configs.errors import InputError
from configs.network import Flatten, GlobalPool, Network, Pool

# Layers whose maps the compiler places; of the others it knows the products alone.
PLACED = ("Conv", "Dense", "Pool", "GlobalPool", "Flatten")


def steps(
    network: Network | Sequence[Gemm],
    images: int,
    machine: TpuMachine,
    *,
    speed: int = 1,
    batches: int = 1,
) -> list[Step]:
    """`batches` of `images`, one after the other, each input arriving during the last
    layer of the batch before.

    A network with layers other than convolutions, dense ones and pooling is taken as its
    matrix products alone, one after the other: the host sends the rows of the first and
    gets those of the last. At a `speed` of 2 or 4 activations have 2 bytes, else 1.

    Raises:
      InputError: `images` or `batches` is not positive.
    """
    for name, value in (("images", images), ("batches", batches)):
        if type(value) is not int or value < 1:
            raise InputError(f"`{name}` (={brief(value)}) must be 1 or more.")
    element = 1 if speed == 1 else 2
    layers, read, written = _layers(network, images, machine, speed, element)
    last = max(
        i for i, layer in enumerate(layers) if any(isinstance(s, Product) for s in layer)
    )
    line = _Line()
    line.add(Read(bytes=read * element))
    for batch in range(batches):
        for number, layer in enumerate(layers):
            if number == last and batch + 1 < batches:
                line.sync()
                line.add(Read(bytes=read * element))
                # The next batch waits for it, this layer does not.
                line.waited = True
            for step in layer:
                line.sync()
                line.add(step)
        line.add(Write(bytes=written * element))
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
        if isinstance(step, Read | Product | Pooling):
            self.waited = False

    def sync(self) -> None:
        if not self.waited:
            self.steps.append(Barrier())
            self.waited = True


def _layers(
    network: Network | Sequence[Gemm],
    images: int,
    machine: TpuMachine,
    speed: int,
    element: int,
) -> tuple[list[list[Step]], int, int]:
    """Steps of each layer, and the numbers that the host sends and gets."""
    placed = isinstance(network, Network) and all(i.kind in PLACED for i in network.walk())
    if not placed:
        found = gemms(network, images) if isinstance(network, Network) else list(network)
        _require_batch(found, images)
        made = [[_product(gemm, machine, speed)] for gemm in found]
        return made, found[0].M * found[0].K, found[-1].M * found[-1].N
    products = {gemm.name: gemm for gemm in gemms(network, images)}
    made = []
    for info in network.walk():
        layer: list[Step] = []
        inputs = images * prod(info.input_shape) * element
        pooled = Pooling(rows=-(-inputs // machine.side))
        if isinstance(info.spec, Pool | GlobalPool) or means_shape(info)[0]:
            layer.append(pooled)
        if info.name in products:
            layer.append(_product(products[info.name], machine, speed))
        if not isinstance(info.spec, Flatten):
            made.append(layer)
    sizes = (network.input_shape, network.output_shape)
    return made, *(images * prod(shape) for shape in sizes)


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
