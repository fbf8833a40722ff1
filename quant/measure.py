"""Figures about an integer network: what it is worth, and what its layers do."""

from __future__ import annotations

import numpy as np

from quant import normative
from quant.network import Format, IntNetwork
from train.evaluate import scores

# Test images on which saturation is counted.
_LOOKED_AT = 500


def scores_of_integers(
    outputs: np.ndarray, kind: Format, labels: np.ndarray, task: str
) -> dict[str, float]:
    """As `train.evaluate.scores`, for integer outputs (N, F) of some format."""
    return scores((outputs * np.float64(kind.scale)).astype(np.float32), labels, task)


def saturation(network: IntNetwork, images: np.ndarray) -> dict[str, float]:
    """Part (0..1) of what each set of weights puts out that a wider format would hold; the
    mean over the steps that share it.

    What a ReLU cuts off below 0 is not saturation.
    """
    cut: dict[str, list[float]] = {}
    for step in normative.steps(network, images, normative.matmul_blas):
        w = step.layer.weighted
        if w:
            product = step.sums * w.multiplier.astype(np.int64)
            whole = normative.divide_rne(product, 1 << w.shift)
            beyond = whole > w.sum.high
            if w.sum.signed:
                beyond |= whole < w.sum.low
            cut.setdefault(step.layer.product.weights, []).append(float(beyond.mean()))
    return {name: sum(parts) / len(parts) for name, parts in cut.items()}


def layer_data(network: IntNetwork, images: np.ndarray) -> list[dict]:
    """One record for each layer with weights."""
    cut = saturation(network, images[:_LOOKED_AT])
    records = []
    first = {s.product.weights: s for s in reversed(list(network.walk())) if s.weighted}
    for name in network.program.weighted:
        layer = first[name]
        w = layer.weighted
        bound = layer.accumulator_bound()
        records.append(
            {
                "name": name,
                "weight_bits": w.weight_bits,
                "activation_bits": w.output.bits,
                "output": f"{w.output.dtype} * 2^{w.output.exponent}",
                "shift": w.shift,
                "multipliers": [int(w.multiplier.min()), int(w.multiplier.max())],
                "accumulator_bound": bound,
                "accumulator_bits": bound.bit_length() + 1,
                "saturation_rate": cut[name],
                "size_bytes": sum(array.nbytes for array in w.tensors().values()),
            }
        )
    return records
