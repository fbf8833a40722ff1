"""A trained network as ordinary layers: what every later stage starts from.

A group convolution is a convolution whose weights repeat (`train.equivariant`). Written
out, the network has more weights, the same multiplications and the same outputs, and
quantises, exports and deploys like any other.
"""

from __future__ import annotations

import jax

from train.equivariant import expanded_bias
from train.model import Model, build


def lowered(model: Model) -> Model:
    """The same function, bit for bit, of the network `model.network.lowered()`.

    Args:
      model: a float network; without symmetries it is given back as it is.
    """
    network = model.network.lowered()
    if network == model.network:
        return model
    plain = build(network, key=jax.random.key(0))
    for info in model.network.walk():
        if info.weights:
            layer, bias = plain.layers[info.name], model.layers[info.name].bias[...]
            layer.kernel[...] = model.kernel(info.name)
            layer.bias[...] = expanded_bias(info.spec, bias)
    return plain
