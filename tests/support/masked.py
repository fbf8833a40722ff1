"""A network that hides its gradient: rounding as it is, with nothing passed through."""

import jax
import jax.numpy as jnp

from quant.network import IntNetwork
from quant.qat import Steps, fake_operators
from quant.twin import STESurrogate, steps_of, twin


class Masked:
    """The quantiser of `Steps` with plain rounding wherever a tensor has a grid."""

    def __init__(self, steps: Steps):
        self.steps = steps

    def __call__(self, name: str, y: jax.Array) -> jax.Array:
        y = self.steps(name, y)
        if any(site.name == name for site in self.steps.plan.sites):
            step = self.steps.activation(name)
            return step * jnp.round(y / step)
        return y


def masked(network: IntNetwork) -> STESurrogate:
    """Equal to `twin` going forward, with a gradient of zero almost everywhere.

    What an attack meets that was handed the quantised network itself.
    """
    model = twin(network)
    model.activation_quantizer = Masked(
        fake_operators(steps_of(network)).activation_quantizer
    )
    return model
