"""A network as a list of matrix products [M, K] x [K, N], all that timing needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from configs.network import Network


@dataclass(frozen=True)
class Gemm:
    """The matrix product of one layer for some images.

    A convolution has a row for every output position of every image (im2col), a dense
    layer one for every image.
    """

    name: str
    images: int
    # Rows of one image: P * Q of a convolution, 1 of a dense layer.
    positions: int
    K: int
    N: int

    @property
    def M(self) -> int:
        return self.images * self.positions

    @property
    def macs(self) -> int:
        return self.M * self.K * self.N


def gemms(network: Network, images: int = 1) -> list[Gemm]:
    """The products of all layers with weights, in order."""
    return [
        Gemm(
            info.name,
            images,
            prod(info.output_shape[:-1]),
            info.weights // info.output_shape[-1],
            info.output_shape[-1],
        )
        for info in network.walk()
        if info.weights
    ]


def batches(images: int, batch: int) -> Sequence[tuple[int, int]]:
    """(size, how many) of the batches that `images` fall into.

    >>> batches(10, 4)
    [(4, 2), (2, 1)]
    """
    whole, rest = divmod(images, batch)
    sizes = [(batch, whole)] if whole else []
    return sizes + ([(rest, 1)] if rest else [])
