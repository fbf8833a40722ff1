"""A network as the list of works that the cost models take, one after the other."""

from __future__ import annotations

import math
from dataclasses import replace

from accel.workload.gemm import Gemm, gemms
from accel.workload.layer import LayerWorkload
from accel.workload.workload import Workload
from configs.network import Network
from configs.program import Product

NOT_COUNTED = (
    "Pooling, additions of residual blocks, what an LSTM does element by element, "
    "activation tables, bias and requantisation: only layers with weights are counted.",
    "A layer starts when the one before it has ended; the host and its link.",
)


def works(network: Network, images: int = 1) -> list[LayerWorkload]:
    """The products of `accel.workload.gemm.gemms` with the shapes of their inputs, in
    order.

    A work is chained if its input is what the work before puts out, perhaps pooled, and
    no other work uses that. Products that share their weights, as the steps of an LSTM
    over time, are one work, repeated, in the place of the first: its weights count once.
    """
    program = network.lowered().program
    found: dict[str, LayerWorkload] = {}
    for node, gemm in zip(program.products, gemms(network, images), strict=True):
        work = _work(gemm, node, program.chained(node))
        shared = found.get(node.weights)
        if shared is None:
            found[node.weights] = work
        else:
            found[node.weights] = _joined(shared, work, node.weights)
    return list(found.values())


def workload(network: Network, images: int = 1) -> Workload:
    """The works of a network for a batch of images."""
    return Workload(works=tuple(works(network, images)), inferences=images)


def _joined(shared: LayerWorkload, work: LayerWorkload, name: str) -> LayerWorkload:
    """A work, and another with the same weights."""
    sets = shared.weight_sets or shared.repeats
    repeats = shared.repeats + work.repeats
    return replace(shared, name=name, repeats=repeats, weight_sets=sets, chained=False)


def _work(gemm: Gemm, node: Product, chained: bool) -> LayerWorkload:
    same = dict(
        name=gemm.name, images=gemm.images, K=gemm.K, N=gemm.N, repeats=gemm.repeats,
        chained=chained,
    )  # fmt: skip
    if node.kernel is None:
        return LayerWorkload(**same, row_bytes=gemm.K)
    rows, cols, _ = node.shape
    tall, wide = (
        (taps - 1) * apart + 1
        for taps, apart in zip(node.kernel, node.dilation, strict=True)
    )
    channels = gemm.K // math.prod(node.kernel)
    return LayerWorkload(
        **same,
        out_rows=rows,
        out_cols=cols,
        kernel_rows=tall,
        stride=node.stride[0],
        row_bytes=((cols - 1) * node.stride[1] + wide) * channels,
        col_bytes=node.stride[1] * channels,
    )
