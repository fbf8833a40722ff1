"""Sheets of images that fool a network: by a perturbation, or by a transform.

Everything here takes arrays and gives figures; what is shown and how it was chosen
stands in the caption.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from train.mosaics import coloured, message_figure, picture
from train.plots import GRAY, INK, canvas, plain, short
from train.probe.curves import NORMS, styles
from train.probe.examples import EXAMPLES, Classes, chosen, scores

_WIDTH_IN, _MARGIN_IN, _GAP_IN, _TEXT_IN = 9.5, 1.0, 0.12, 0.15


@dataclass(frozen=True, kw_only=True)
class _Words:
    """A line of texts under the images: its name at the left, one text for each image.

    `strong` (n,) says which texts are bold.
    """

    label: str
    texts: Sequence[str]
    strong: Sequence[bool]
    colour: str = INK


def attack_grid(
    images: np.ndarray,
    adversarial: np.ndarray,
    labels: np.ndarray,
    *,
    before: Classes,
    after: Classes,
    classes: Sequence[str],
    name: str,
    attack: str,
    eps: float,
    norm: str = "linf",
    losses: np.ndarray | None = None,
) -> Figure:
    """Clean image, perturbation and adversarial image, with every model's predictions.

    Args:
      images, adversarial: uint8 (N, H, W, C).
      before, after: predicted classes of the two by model, (N,) each.
      attack: what was run and against which model, with steps and restarts.
      eps: the budget, 0..1 (L2: of pixels in 0..1).
      losses: (N,) of the adversarial images; if none is broken, the largest are shown.

    Raises:
      ValueError: arrays of different lengths.
    """
    _check(images, labels, adversarial, before, after, losses)
    title = f"{name}: adversarial examples"
    budget = f"{_budget(eps, norm)}; attack: {attack}"
    if not len(images):
        return message_figure(title=title, note=f"{budget}.", message="No images")
    choice = chosen(labels, before, after, losses)
    pick = choice.indices
    changes = adversarial[pick].astype(np.int32) - images[pick]
    limit = int(np.abs(changes).max())
    note = (
        f"{budget}. {scores(labels, before, after)} {choice.sentence} "
        f"{_scaling(limit, images.shape[-1])} Below: predicted class before → after, bold "
        "where wrong."
    )
    strips = {
        "clean": [picture(image) for image in images[pick]],
        "perturbation\n(scaled)": [_signed(change, limit) for change in changes],
        "adversarial": [picture(image) for image in adversarial[pick]],
    }
    words = _predictions(pick, labels, before, after, classes)
    return _sheet(strips, _heads(labels[pick], classes), words, title=title, note=note)


def worst_transforms(
    images: np.ndarray,
    warped: np.ndarray,
    labels: np.ndarray,
    *,
    before: Classes,
    after: Classes,
    transforms: np.ndarray,
    classes: Sequence[str],
    name: str,
    search: str,
) -> Figure:
    """Images, the transform that was found for each, and every model's predictions.

    Args:
      images, warped: uint8 (N, H, W, C).
      before, after: predicted classes of the two by model, (N,) each.
      transforms: (N, 3) degrees counter-clockwise, pixels down and pixels right, as in
        `train.probe.spatial`.
      search: what was searched and for which model, such as "775 transforms".

    Raises:
      ValueError: arrays of different lengths.
    """
    _check(images, labels, warped, before, after, transforms)
    title = f"{name}: worst transforms"
    if not len(images):
        return message_figure(title=title, note=f"{search}.", message="No images")
    choice = chosen(labels, before, after, None)
    pick = choice.indices
    note = (
        f"Search: {search}. {scores(labels, before, after)} {choice.sentence} Below: the "
        "transform (counter-clockwise degrees, pixels down, pixels right), and the "
        "predicted class before → after, bold where wrong."
    )
    strips = {
        "clean": [picture(image) for image in images[pick]],
        "transformed": [picture(image) for image in warped[pick]],
    }
    texts = [_transform(row) for row in transforms[pick]]
    words = [
        _Words(label="transform", texts=texts, strong=[False] * len(texts), colour=GRAY)
    ]
    words += _predictions(pick, labels, before, after, classes)
    return _sheet(strips, _heads(labels[pick], classes), words, title=title, note=note)


def _check(images, labels, changed, before, after, perhaps) -> None:
    others = {"labels": labels, "adversarial or warped images": changed}
    others |= {f"before[{model}]": row for model, row in before.items()}
    others |= {f"after[{model}]": row for model, row in after.items()}
    if perhaps is not None:
        others["losses or transforms"] = perhaps
    for field, values in others.items():
        if len(values) != len(images):
            raise ValueError(
                f"`{field}` (={len(values)} rows) must hold one row for each of the "
                f"{len(images)} images; give all of the same images."
            )
    if not before or set(before) != set(after):
        raise ValueError(
            f"`before` (={sorted(before)}) and `after` (={sorted(after)}) must name the "
            "same models, at least one; give the predictions of each."
        )


def _budget(eps: float, norm: str) -> str:
    if norm == "linf":
        # Only here: it imports JAX.
        from train.attack.budget import levels_of

        levels = levels_of(eps)
        return f"L-infinity budget eps {eps:.4g}, {levels} of 255 pixel levels"
    return f"{NORMS[norm]} budget eps {eps:.4g}, pixels 0 to 1"


def _scaling(limit: int, channels: int) -> str:
    if not limit:
        return "No pixel is changed."
    times, colours = 255 / limit, "red adds, blue takes away, white is no change"
    if channels == 3:
        times = 127.5 / limit
        colours = "each colour is brighter where added, middle gray is no change"
    elif channels != 1:
        colours += ", the mean of the channels"
    return (
        f"The perturbation is scaled {times:.1f} times: the largest change shown, {limit} "
        f"of 255 levels, has the strongest colour; {colours}."
    )


def _signed(change: np.ndarray, limit: int) -> np.ndarray:
    """A perturbation (H, W, C) as colours, ±limit at their ends."""
    if change.shape[-1] == 3:
        return 0.5 + 0.5 * change / max(limit, 1)
    return coloured(change.mean(-1), -max(limit, 1), max(limit, 1), "RdBu_r")


def _transform(row: np.ndarray) -> str:
    signed = lambda value: f"{value:+.3g}".replace("-", "−") if value else "0"
    angle, down, right = map(signed, row)
    return f"{angle}°\n{down} px, {right} px"


def _class(index: int, classes: Sequence[str]) -> str:
    """Name of a class; an output beyond the classes has only its number."""
    return short(classes[index] if index < len(classes) else index, 12)


def _heads(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    return [_class(label, classes) for label in labels]


def _predictions(pick, labels, before: Classes, after: Classes, classes) -> list[_Words]:
    """A line for each model; long names take two."""
    words = []
    for model, look in styles(before).items():
        pairs = [
            [_class(c[i], classes) for c in (before[model], after[model])] for i in pick
        ]
        long = max(len(text) for pair in pairs for text in pair) > 4
        arrow = "\n→ " if long else " → "
        words.append(
            _Words(
                label=short(model, 12),
                texts=[arrow.join(pair) for pair in pairs],
                strong=after[model][pick] != labels[pick],
                colour=look.colour,
            )
        )
    return words


def _sheet(
    strips: Mapping[str, Sequence[np.ndarray]],
    heads: Sequence[str],
    words: Sequence[_Words],
    *,
    title: str,
    note: str,
) -> Figure:
    """Examples side by side: a head, one image of each strip, and the texts below."""
    side_in = (_WIDTH_IN - _MARGIN_IN - 0.1) / EXAMPLES - _GAP_IN
    height, width = next(iter(strips.values()))[0].shape[:2]
    tall_in = side_in * height / width
    lines = [max(text.count("\n") + 1 for text in word.texts) for word in words]
    texts_in = [_TEXT_IN * count + 0.07 for count in lines]
    total_in = 0.24 + len(strips) * (tall_in + _GAP_IN / 2) + sum(texts_in) + 0.08
    figure, top = canvas(_WIDTH_IN, total_in, title, note)
    figure.set_layout_engine("none")
    page_in = np.array([_WIDTH_IN, total_in / top])
    left_in = _MARGIN_IN + (side_in + _GAP_IN) * np.arange(len(heads))
    down_in = total_in - 0.2

    def say(x_in, y_in, text, **style):
        figure.text(x_in / page_in[0], y_in / page_in[1], plain(text), **style)

    for x_in, head in zip(left_in, heads, strict=True):
        say(x_in + side_in / 2, down_in, head, ha="center", va="bottom", size=8, color=INK)
    for label, row in strips.items():
        down_in -= tall_in + _GAP_IN / 2
        say(0.12, down_in + tall_in / 2, label, va="center", size=8.5, color=INK)
        for x_in, image in zip(left_in, row, strict=True):
            corner = np.array([x_in, down_in]) / page_in
            axes = figure.add_axes((*corner, *(np.array([side_in, tall_in]) / page_in)))
            axes.imshow(image, interpolation="nearest", aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="#bbbbbb", lw=0.5)
    for word, tall in zip(words, texts_in, strict=True):
        style = {"size": 8.5, "color": word.colour, "weight": "bold"}
        say(0.12, down_in - 0.18, word.label, **style)
        _write(say, left_in + side_in / 2, down_in - 0.18, word)
        down_in -= tall
    return figure


def _write(say: Callable, middles_in: np.ndarray, y_in: float, word: _Words) -> None:
    """The texts under the images, line by line: the baseline of a block of lines depends
    on its glyphs."""
    for x_in, text, strong in zip(middles_in, word.texts, word.strong, strict=True):
        style = {"size": 7.5, "ha": "center", "color": INK if strong else GRAY}
        style["weight"] = "bold" if strong else "normal"
        for number, part in enumerate(text.split("\n")):
            say(x_in, y_in - _TEXT_IN * number, part, **style)
