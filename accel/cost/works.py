"""A network as the list of works that the cost models take, one after the other."""

from __future__ import annotations

from accel.cost.work import Work
from accel.cost.workload import Workload
from accel.gemm import Gemm, gemms
from configs.network import Conv, LayerInfo, LstmCell, Network

NOT_COUNTED = (
    "Pooling, additions of residual blocks, what an LSTM does element by element, "
    "activation tables, bias and requantisation: only layers with weights are counted.",
    "A layer starts when the one before it has ended; the host and its link.",
)


def works(network: Network, images: int = 1) -> list[Work]:
    """The products of `accel.gemm.gemms` with the shapes of their inputs, in order.

    A work is chained if its input is what the work before puts out, perhaps pooled, and
    no other work uses that. So nothing is chained at either end of a path of a residual
    block, or to an LSTM cell, whose output is not its products'.
    """
    products = {gemm.name: gemm for gemm in gemms(network, images)}
    found: list[Work] = []
    path, chained = None, False
    for info in network.leaves():
        here = info.name.rpartition(".")[0]
        cell = isinstance(info.spec, LstmCell)
        if here != path or cell:
            path, chained = here, False
        if info.weights:
            for name in _names(info):
                found.append(_work(products[name], info, chained=chained))
            chained = not cell
    return found


def workload(network: Network, images: int = 1) -> Workload:
    """The works of a network for a batch of images."""
    return Workload(works=tuple(works(network, images)), inferences=images)


def _names(info: LayerInfo) -> tuple[str, ...]:
    """Of the products of a layer."""
    if isinstance(info.spec, LstmCell) and info.spec.gates == "separate":
        return f"{info.name}.input", f"{info.name}.hidden"
    return (info.name,)


def _work(gemm: Gemm, info: LayerInfo, *, chained: bool) -> Work:
    same = dict(
        name=gemm.name, images=gemm.images, K=gemm.K, N=gemm.N, repeats=gemm.repeats
    )
    spec = info.spec
    if not isinstance(spec, Conv):
        return Work(**same, row_bytes=gemm.K, chained=chained)
    rows, cols, _ = info.output_shape
    columns = (cols - 1) * spec.stride[1] + spec.kernel[1]
    return Work(
        **same,
        out_rows=rows,
        out_cols=cols,
        kernel_rows=spec.kernel[0],
        stride=spec.stride[0],
        row_bytes=columns * (info.input_shape[2] // spec.groups),
        col_bytes=spec.stride[1] * (info.input_shape[2] // spec.groups),
        chained=chained,
    )
