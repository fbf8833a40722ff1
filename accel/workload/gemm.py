"""A network as a list of matrix products [M, K] x [K, N], all that timing needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from configs.network import Network
from configs.program import (
    Activate,
    Add,
    Concat,
    Input,
    Mul,
    Node,
    Pad,
    Pool,
    Product,
    Reshape,
    Slice,
    State,
    entry,
)


@dataclass(frozen=True)
class Gemm:
    """The matrix product of one layer for some images.

    A convolution has a row for every output position of every image (im2col), a dense
    layer one for every image. M, K and N are those of one product, however often it is
    repeated.
    """

    name: str
    images: int
    # Rows of one image: P * Q of a convolution, 1 of a dense layer.
    positions: int
    K: int
    N: int
    # Products of this size, each with weights of its own: the groups of a convolution,
    # the gates of an LSTM cell.
    repeats: int = 1
    # Repeats in succession that take the same inputs: the gates, but not the groups.
    sharing: int = 1

    @property
    def M(self) -> int:
        return self.images * self.positions

    @property
    def macs(self) -> int:
        """Multiplications of all repeats."""
        return self.repeats * self.M * self.K * self.N


# Operators that multiply nothing by weights.
_WITHOUT = (Input, State, Pad, Activate, Pool, Reshape, Slice, Concat, Add, Mul)
# The products with weights of each operator.
_PRODUCTS: dict[type[Node], Callable[[Node], Iterable[Product]]] = {
    Product: lambda node: (node,),
    **dict.fromkeys(_WITHOUT, lambda node: ()),
}


def gemms(network: Network, images: int = 1) -> list[Gemm]:
    """The products with weights of a network's program, in order.

    Raises:
      InputError: an operator is unknown, and may multiply.
    """
    program = network.lowered().program
    titles = program.titles()
    return [
        of(product, titles[product.name], images)
        for node in program.nodes
        for product in entry(_PRODUCTS, node, "accel.workload.gemm")(node)
    ]


def of(node: Product, name: str, images: int) -> Gemm:
    """The matrix product of one node."""
    return Gemm(name, images, node.positions, node.K, node.N, node.repeats, node.parts)


def batches(images: int, batch: int) -> Sequence[tuple[int, int]]:
    """(size, how many) of the batches that `images` fall into.

    >>> batches(10, 4)
    [(4, 2), (2, 1)]
    """
    whole, rest = divmod(images, batch)
    sizes = [(batch, whole)] if whole else []
    return sizes + ([(rest, 1)] if rest else [])
