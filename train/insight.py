"""Pictures of the inside of an image network: filters, maps, patches, found inputs."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

from configs.network import LayerInfo, Network
from configs.program import Input, Product, Reshape
from train.features import (
    EDGE_FILTERS,
    Ascent,
    Peaks,
    Unit,
    centre,
    liveliest,
    receptive_field,
    rectified_correlation,
    strongest_patches,
)
from train.mosaics import Panel, Row, coloured, panel_figure, picture, signed, tiled
from train.plots import short

# Units of a layer, layers, channels, filters and classes that a picture has room for.
_UNITS, _LAYERS, _CHANNELS, _FILTERS, _CLASSES = 5, 3, 16, 32, 10
_PATCHES = 9


def filters(model, sample: np.ndarray, *, name: str) -> Figure | None:
    """The first layer's weights as images; convolutions beside hand-set edge filters."""
    program = model.network.program
    conv = next((node for node in program.products if node.kernel), None)
    if conv:
        return _conv_filters(conv, np.asarray(model.kernel(conv.weights)), sample, name)
    first = program.products[0]
    before = program.by_name[first.input]
    flat = isinstance(before, Reshape) and isinstance(program.by_name[before.input], Input)
    if not flat:
        return None
    kernel = np.asarray(model.kernel(first.weights))[:, :_FILTERS]
    shape = model.network.input_shape
    panels = [Panel(image=signed(column.reshape(shape))) for column in kernel.T]
    return panel_figure(
        [Row(label="", panels=panels)],
        title=f"{name}: what the first neurons weigh",
        note=f"Weights of {first.layer}, one panel for each of the first {len(panels)} "
        "neurons, laid out as the image: red pixels excite it, blue ones silence it.",
        columns=8,
    )


def _conv_filters(
    conv: Product, kernel: np.ndarray, sample: np.ndarray, name: str
) -> Figure:
    learned = [kernel[..., f] for f in range(kernel.shape[-1])]
    height, width = conv.kernel
    tests = [Panel(image=picture(sample), title="a test image")]
    alike = [None]
    for (title, edge), (index, cosine) in zip(
        EDGE_FILTERS.items(), nearest(learned), strict=True
    ):
        gray = sample.mean(axis=-1, keepdims=True) / 256
        numbers = edge.astype(int)
        hand = Panel(image=signed(edge[..., None]), title=title, numbers=numbers)
        tests += [hand, _response(gray, edge[..., None])]
        likeness = f"cosine {cosine:.2f}" if cosine is not None else ""
        found = Panel(image=signed(learned[index]), title=f"filter {index}", note=likeness)
        alike += [found, _response(sample / 256, learned[index])]
    shown = learned[:_FILTERS]
    rows = [
        Row(
            label=f"learned:\n{conv.layer}\n{height} × {width} × {kernel.shape[2]}",
            panels=[Panel(image=signed(w), title=str(f)) for f, w in enumerate(shown)],
        ),
        Row(label="set by hand:\nedge filters", panels=tests),
        Row(label="learned:\nmost alike", panels=alike),
    ]
    meaning = (
        "Colours are weights around a middle gray of 0."
        if kernel.shape[2] == 3
        else "Red weights are positive, blue ones negative, white is 0."
    )
    some = f" The first {len(shown)} of {len(learned)} are shown." * (
        len(shown) < len(learned)
    )
    return panel_figure(
        rows,
        title=f"{name}: the filters of the first convolution",
        note=f"{meaning}{some} Beside a filter: what it gives on the test image (no "
        "padding, no bias, then ReLU; bright is strong).",
        columns=8,
    )


def _response(image: np.ndarray, kernel: np.ndarray) -> Panel:
    response = rectified_correlation(image, kernel)
    return Panel(image=coloured(response, 0, response.max(), "gray"), title="gives")


def nearest(learned: Sequence[np.ndarray]) -> list[tuple[int, float | None]]:
    """For each hand-set edge filter the learned one of the largest cosine with it.

    Filters of another size than 3 x 3 have no cosine: then the largest weights count.
    """
    flat = np.stack([weights.sum(axis=-1).ravel() for weights in learned])
    norms = np.linalg.norm(flat, axis=1)
    if learned[0].shape[:2] != (3, 3):
        order = np.argsort(-norms, kind="stable")
        return [(int(order[i % len(order)]), None) for i in range(len(EDGE_FILTERS))]
    chosen = []
    for edge in EDGE_FILTERS.values():
        cosines = flat @ edge.ravel() / np.maximum(norms * np.linalg.norm(edge), 1e-12)
        index = int(np.argmax(cosines))
        chosen.append((index, float(cosines[index])))
    return chosen


def feature_maps(model, sample: np.ndarray, *, name: str, classes: Sequence[str]) -> Figure:
    """Every layer's output for one image, the dense ones as strips."""
    outputs = jax.tree.map(np.asarray, jax.jit(model.outputs)(sample[None]))
    infos = _shown(model.network)
    rows = [
        Row(label=f"input\n{_size(sample.shape)}", panels=[Panel(image=picture(sample))])
    ]
    for info in infos:
        y = outputs[info.name][0]
        scale = {"low": min(float(y.min()), 0.0), "high": float(y.max()), "cmap": "viridis"}
        label = f"{info.name}\n{_size(y.shape)}"
        if y.ndim == 3:
            maps = [y[..., f] for f in range(min(y.shape[-1], _CHANNELS))]
            panels = [Panel(image=coloured(values, **scale)) for values in maps]
        else:
            numbers = _scores(y, classes) if info is infos[-1] else None
            panels = [Panel(image=coloured(y[None], **scale), numbers=numbers)]
        rows.append(Row(label=label, panels=panels, strip=y.ndim == 1))
    return panel_figure(
        rows,
        title=f"{name}: what every layer makes of one test image",
        note=f"One panel for each channel (at most {_CHANNELS}), dense layers as strips; "
        "within a layer dark is none and yellow the strongest. The last strip is the "
        "score of every class: the largest wins.",
        columns=_CHANNELS,
        width_in=11.0,
    )


def _scores(y: np.ndarray, classes: Sequence[str]) -> np.ndarray | None:
    if len(y) > 12:
        return None
    return np.array([[f"{short(c, 9)}: {v:.1f}" for c, v in zip(classes, y, strict=True)]])


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def picked_units(network: Network, found: dict[str, Peaks]) -> list[Unit]:
    """Channels that vary most, of the first, middle and last convolution, and outputs.

    A network without convolutions shows neurons of its first hidden layer instead.
    """
    program = network.program
    products = [node for node in program.products if node.layer in program.by_name]
    layers = [node.layer for node in products if node.kernel]
    if len(layers) > _LAYERS:
        layers = [layers[0], layers[len(layers) // 2], layers[-1]]
    layers = layers or [node.layer for node in products if node.layer != _last(network)][:1]
    units = [unit for name in layers for unit in liveliest(name, found[name], _UNITS)]
    outputs = range(min(network.output_shape[0], _CLASSES))
    return units + [Unit(layer=_last(network), channel=channel) for channel in outputs]


def strongest(
    network: Network,
    units: Sequence[Unit],
    found: dict[str, Peaks],
    images: np.ndarray,
    *,
    name: str,
    classes: Sequence[str],
    looked: str,
) -> Figure:
    """For each unit a raster of the patches that excite it most."""
    panels = []
    for unit in units:
        patches = strongest_patches(network, unit, found[unit.layer], images, _PATCHES)
        values = [value for _, value in patches]
        panels.append(
            Panel(
                image=tiled([picture(patch) for patch, _ in patches], 3),
                title=_unit_title(network, unit, classes),
                note=f"{min(values):.1f} to {max(values):.1f}",
            )
        )
    return panel_figure(
        _by_layer(network, units, panels),
        title=f"{name}: what excites single neurons most",
        note=f"The {_PATCHES} patches of {looked} (one of each image at most) with the "
        "largest activation, cut to what the neuron can see; below, the activations. "
        "Of hidden layers those neurons are shown whose activation varies most.",
        columns=_UNITS,
        width_in=8.5,
    )


def maximised(
    network: Network,
    units: Sequence[Unit],
    searched: tuple[np.ndarray, np.ndarray],
    best: np.ndarray,
    ascent: Ascent,
    *,
    name: str,
    classes: Sequence[str],
    looked: str,
) -> Figure:
    """For each unit the input that gradient ascent found."""
    panels = []
    for unit, image, reached, record in zip(units, *searched, best, strict=True):
        rows, columns = receptive_field(network, unit.layer, centre(network, unit)[:-1])
        panels.append(
            Panel(
                image=picture(image[rows, columns]),
                title=_unit_title(network, unit, classes),
                note=f"{reached:.1f}, test images {record:.1f}",
            )
        )
    return panel_figure(
        _by_layer(network, units, panels),
        title=f"{name}: inputs made to excite single neurons",
        note=f"Gradient ascent on the pixels, {ascent.steps} steps from the best of "
        f"{ascent.starts} noise images, kept smooth (total variation) and near gray level "
        f"{ascent.rest:.0f} (L2), cut to what the neuron can see. Below: activation "
        f"reached, and the largest that any of {looked} reaches.",
        columns=_UNITS,
        width_in=8.5,
    )


def _unit_title(network: Network, unit: Unit, classes: Sequence[str]) -> str:
    if unit.layer == _last(network):
        return f"class {short(classes[unit.channel])}"
    single = len(network.program.by_name[unit.layer].shape) == 1
    return f"{'neuron' if single else 'channel'} {unit.channel}"


def _last(network: Network) -> str:
    return network.program.output.name


def _shown(network: Network) -> list[LayerInfo]:
    """Layers whose outputs are worth a row: not those that only give another shape."""
    by_name = network.program.by_name
    found = (*network.walk(), *network.leaves())
    order = list(by_name)
    infos = {info.name: info for info in found if info.name in by_name}
    shown = [i for i in infos.values() if not _only_shape(network, i.name)]
    return sorted(shown, key=lambda info: order.index(info.name))


def _only_shape(network: Network, name: str) -> bool:
    step = next(step for step in network.program.steps if step.name == name)
    return isinstance(step.nodes[0], Reshape)


def _by_layer(
    network: Network, units: Sequence[Unit], panels: Sequence[Panel]
) -> list[Row]:
    rows = []
    for layer in dict.fromkeys(unit.layer for unit in units):
        members = [i for i, unit in enumerate(units) if unit.layer == layer]
        place = centre(network, units[members[0]])[:-1]
        height, width = (
            axis.stop - axis.start for axis in receptive_field(network, layer, place)
        )
        label = f"{layer}\nsees\n{height} × {width} pixels"
        rows.append(Row(label=label, panels=[panels[i] for i in members]))
    return rows
