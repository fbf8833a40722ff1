"""A trained network as ordinary layers: what every later stage starts from.

A group convolution is a convolution whose weights repeat (`train.equivariant`), and a
normalisation by running averages is a scale and a shift (`train.norm`). Written out, the
network has more weights, the same multiplications and the same outputs, and quantises,
exports and deploys like any other.
"""

from __future__ import annotations

import jax

from train.equivariant import expanded_bias
from train.model import Model, build
from train.norm import NormedConv


def lowered(model: Model) -> Model:
    """The same function of the network `model.network.lowered()`: bit for bit where only
    symmetries are written out, up to rounding where normalisations are folded.

    Args:
      model: a float network; one of ordinary layers is given back as it is.
    """
    network = model.network.lowered()
    if network == model.network:
        return model
    plain = build(network, key=jax.random.key(0))
    for name, node in model.network.program.weighted.items():
        layer, trained = plain.layers[name], model.layers[name]
        if isinstance(trained, NormedConv):
            layer.kernel[...], layer.bias[...] = trained.folded()
            continue
        layer.kernel[...] = model.kernel(name)
        if node.biased:
            layer.bias[...] = expanded_bias(node, trained.bias[...])
    return plain
