"""What the user may set about quantisation, as frozen data that is checked when made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from configs.checks import brief, check_types, require
from configs.errors import InputError
from configs.network import Network
from quant.network import rescaling

_OVERRIDE = re.compile(r"(?P<layer>[\w.]+)=(w(?P<weights>\d+))?(a(?P<activations>\d+))?")


class Widths(NamedTuple):
    """Bits of a layer's weights and of its output."""

    weights: int
    activations: int


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How a trained network becomes one of integers."""

    # Bits of the weights, 2..8.
    weight_bits: int = 8
    # Bits of the activations, 2..8; the network's output keeps 8.
    activation_bits: int = 8
    # Layers with widths of their own, such as conv1=w8a4 or dense2=w8; `first` and `last`
    # stand for the first and last layer with weights.
    layers: tuple[str, ...] = ()
    # Passes over the training set with fake quantisation; 0 is post-training quantisation.
    epochs: int = 3
    # Largest learning rate of these passes; it falls to 0 along a cosine. Very narrow
    # widths like more: 1e-3 for 2 bits.
    learning_rate: float = 3e-4
    # How the first ranges are chosen from float activations and weights: "mse" (least
    # squared error), "minmax" (nothing is cut off) or "percentile".
    calibration: Literal["mse", "minmax", "percentile"] = "mse"
    # With calibration=percentile: the part of all values, in percent, that is not cut off.
    percentile: float = 99.99
    # Training images that calibration looks at.
    calibration_images: int = 512
    # Weight scales: one per output channel, or one per layer.
    weight_scales: Literal["channel", "layer"] = "channel"
    # Whether weight scales learn (LSQ) or stay as calibrated.
    weight_steps: Literal["lsq", "fixed"] = "lsq"
    # Whether activation scales learn (LSQ, or PACT: from cut-off values alone) or stay.
    activation_steps: Literal["lsq", "pact", "fixed"] = "lsq"
    # Seed of the order of the images and their augmentation.
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("weight_bits", "activation_bits"):
            value = getattr(self, name)
            require(self, 2 <= value <= 8, name, "must be in 2..8 bits.")
        require(self, self.epochs >= 0, "epochs", "must be 0 (no training) or more.")
        rate, images = self.learning_rate, self.calibration_images
        require(self, rate > 0, "learning_rate", "must be above 0; try 0.0003.")
        require(self, images >= 1, "calibration_images", "must be 1 or more; try 512.")
        inside = 50 < self.percentile <= 100
        require(self, inside, "percentile", "must be above 50 and at most 100; try 99.99.")
        require(self, 0 <= self.seed < 2**32, "seed", "must be in 0..2^32-1; use 0.")
        for override in self.layers:
            _parse(override)

    def widths(self, network: Network) -> Mapping[str, Widths]:
        """Bits of every layer with weights, and of every other value that is brought back
        to a grid, such as the sum of a block (whose weights count for nothing).

        Raises:
          InputError: an override names neither.
        """
        program = network.program
        names = list(program.weighted)
        joins = [name for name in rescaling(program) if name not in names]
        every = (*names, *joins)
        widths = {name: Widths(self.weight_bits, self.activation_bits) for name in every}
        widths[names[-1]] = Widths(self.weight_bits, 8)
        end = program.root(program.output.name)
        if getattr(end, "owner", "") in joins:
            widths[end.owner] = Widths(self.weight_bits, 8)
        for override in self.layers:
            layer, weights, activations = _parse(override)
            layer = {"first": names[0], "last": names[-1]}.get(layer, layer)
            if layer not in widths:
                raise InputError(
                    f"`layers` (={override}) must name a layer with weights; this network "
                    f"has {', '.join(every)}."
                )
            before = widths[layer]
            widths[layer] = Widths(
                weights or before.weights, activations or before.activations
            )
        return widths


def _parse(override: str) -> tuple[str, int, int]:
    """Layer, bits of its weights, bits of its output; 0 where none is given."""
    match = _OVERRIDE.fullmatch(override)
    given = [int(b) for b in match.group("weights", "activations") if b] if match else []
    if not given or not all(2 <= bits <= 8 for bits in given):
        raise InputError(
            f"`layers` (={brief(override)}) must be LAYER=wBITS, LAYER=aBITS or "
            f"LAYER=wBITSaBITS with 2..8 bits; write it like conv1=w4a8."
        )
    weights, activations = (int(b or 0) for b in match.group("weights", "activations"))
    return match["layer"], weights, activations
