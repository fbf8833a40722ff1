"""The first steps of all grids, from the float network's own values.

"minmax" cuts nothing off, "percentile" the largest values, and "mse" takes the step with
the least squared error of the values it rounds and clips.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from configs.network import Network
from quant.network import PIXELS, SHIFTS, weight_high
from quant.qat import Place, Plan, Site, Steps
from quant.settings import Quantization
from train.model import Model, Operators, build, float_operators, merge, split

# Values of a site that are kept for its histogram and its choice of step.
_KEPT = 1 << 20
# Weight steps tried for each channel, as parts of the one that cuts nothing off.
_SHRINK = np.linspace(0.3, 1.0, 71)
# log2 of what the largest multiplier of a layer may be, with room to grow below 2^16, and
# of what the typical one should reach: steps of 1/64 or finer.
_LARGEST, _TYPICAL = 15, 7
# Images seen at once.
_CHUNK = 64


def observe(network: Network, trained: Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Values of every tensor by its name at the seam, float32 (values,); of large tensors
    an evenly drawn part, and always the extremes."""
    _, params = split(trained)

    @jax.jit
    def look(params, pixels):
        seen = {}

        def note(name, y):
            seen[name] = y
            return y

        plain = float_operators()
        operators = Operators(conv=plain.conv, dot=plain.dot, activation_quantizer=note)
        model = build(network, operators=operators, key=jax.random.key(0))
        merge(split(model)[0], params)(pixels)
        return seen

    draw = np.random.default_rng(0)
    share = max(1, _KEPT * _CHUNK // max(len(images), 1))
    kept: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(images), _CHUNK):
        for name, y in look(params, jnp.asarray(images[first : first + _CHUNK])).items():
            values = np.asarray(y).ravel()
            extremes = np.array([values.min(), values.max()])
            if len(values) > share:
                values = np.concatenate([draw.choice(values, share), extremes])
            kept.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in kept.items()}


def activation_exponent(values: np.ndarray, site: Site, settings: Quantization) -> int:
    """Exponent of the power-of-two step of a site.

    For "minmax" and "percentile" the smallest that reaches as far as asked; for "mse" the
    best of that and the finer ones.
    """
    reach = np.abs(values).max()
    if settings.calibration == "percentile":
        reach = np.percentile(np.abs(values), settings.percentile)
    whole = int(np.ceil(np.log2(max(reach, 2.0**-20) / site.high)))
    if settings.calibration != "mse":
        return whole
    errors = {}
    for exponent in range(whole - 5, whole + 1):
        step = 2.0**exponent
        rounded = step * np.clip(np.rint(values / step), site.low, site.high)
        errors[exponent] = float(np.mean((values - rounded) ** 2))
    return min(errors, key=errors.get)


def weight_steps(kernel: np.ndarray, high: int, settings: Quantization) -> np.ndarray:
    """Steps of a layer's weights (..., F), float64 (F,)."""
    columns = np.abs(kernel.reshape(-1, kernel.shape[-1]).astype(np.float64))
    if settings.weight_scales == "layer":
        columns = columns.reshape(-1, 1)
    if settings.calibration == "percentile":
        steps = np.percentile(columns, settings.percentile, axis=0) / high
    else:
        steps = columns.max(0) / high
    # A channel of zeros may have any step.
    steps = np.maximum(steps, 2.0**-24)
    if settings.calibration == "mse":
        tried = steps[None] * _SHRINK[:, None]
        errors = [_weight_error(columns, step, high) for step in tried]
        steps = np.take_along_axis(tried, np.argmin(errors, 0)[None], 0)[0]
    return np.broadcast_to(steps, kernel.shape[-1:]).copy()


def _weight_error(columns: np.ndarray, step: np.ndarray, high: int) -> np.ndarray:
    rounded = step * np.clip(np.rint(columns / step), 0, high)
    return ((columns - rounded) ** 2).mean(0)


def calibrate(
    plan: Plan, trained: Model, seen: dict[str, np.ndarray], settings: Quantization
) -> Steps:
    """First steps of all sites and of all weights, and shifts that suit them."""
    activations = {
        site.name: float(activation_exponent(_values(plan, site, seen), site, settings))
        for site in plan.free()
    }
    weights = {
        place.name: np.log2(
            weight_steps(
                np.asarray(trained.kernel(place.name)),
                weight_high(place.weight_bits),
                settings,
            )
        )
        for place in plan.places
    }
    places = tuple(
        dataclasses.replace(place, shift=_shift(plan, place, activations, steps))
        for place, steps in zip(plan.places, weights.values(), strict=True)
    )
    return Steps(
        dataclasses.replace(plan, places=places),
        activations,
        weights,
        activation_method=settings.activation_steps,
        weight_method=settings.weight_steps,
    )


def _values(plan: Plan, site: Site, seen: dict[str, np.ndarray]) -> np.ndarray:
    """All values that a site's step is for."""
    names = [value for value, owner in plan.values if plan.site(owner).grid == site.name]
    return np.concatenate([seen[name] for name in names])


def _exponent(plan: Plan, site: str, activations: dict[str, float]) -> float:
    """log2 of a site's first step."""
    if not site:
        return float(PIXELS.exponent)
    found = plan.site(site)
    return activations[found.grid] if found.exponent is None else float(found.exponent)


def _shift(
    plan: Plan, place: Place, activations: dict[str, float], weights: np.ndarray
) -> int:
    """16, unless the multipliers would then be too coarse or leave 16 bits."""
    before = _exponent(plan, place.input, activations)
    # log2 of the real factor that a multiplier and the shift stand for.
    factor = weights + before - _exponent(plan, place.sum, activations)
    finest = _LARGEST - factor.max()
    enough = max(16, _TYPICAL - np.median(factor))
    return int(np.clip(np.floor(min(finest, enough)), SHIFTS[0], SHIFTS[-1]))
