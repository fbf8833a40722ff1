"""A network as a list of matrix products [M, K] x [K, N], all that timing needs to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from configs.errors import unknown
from configs.network import (
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    LayerInfo,
    LstmCell,
    Network,
    Pool,
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

    @property
    def M(self) -> int:
        return self.images * self.positions

    @property
    def macs(self) -> int:
        """Multiplications of all repeats."""
        return self.repeats * self.M * self.K * self.N


def gemms(network: Network, images: int = 1) -> list[Gemm]:
    """The products of all layers with weights, blocks taken apart, in order."""
    leaves = network.lowered().leaves()
    return [gemm for info in leaves for gemm in _products(info, images)]


def _products(info: LayerInfo, images: int) -> Iterator[Gemm]:
    """One product, or several in the order done; an LSTM cell with separate gates has
    those of its input ("<name>.input") and those of its state ("<name>.hidden").
    """
    spec, features = info.spec, info.output_shape[-1]
    if isinstance(spec, Pool | GlobalPool | Flatten):
        return
    if isinstance(spec, LstmCell):
        inputs = info.input_shape[0]
        if spec.gates == "joined":
            yield Gemm(info.name, images, 1, inputs + features, 4 * features)
        else:
            yield Gemm(f"{info.name}.input", images, 1, inputs, features, 4)
            yield Gemm(f"{info.name}.hidden", images, 1, features, features, 4)
        return
    if not isinstance(spec, Conv | Dense):
        raise unknown(spec, "accel.gemm")
    groups = spec.groups if isinstance(spec, Conv) else 1
    positions = prod(info.output_shape[:-1])
    K, N = info.weights // features, features // groups
    yield Gemm(info.name, images, positions, K, N, groups)


def batches(images: int, batch: int) -> Sequence[tuple[int, int]]:
    """(size, how many) of the batches that `images` fall into.

    >>> batches(10, 4)
    [(4, 2), (2, 1)]
    """
    whole, rest = divmod(images, batch)
    sizes = [(batch, whole)] if whole else []
    return sizes + ([(rest, 1)] if rest else [])
