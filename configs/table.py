"""What a network costs, layer by layer, as data and as a table."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from configs import stored
from configs.network import LayerInfo, Network
from configs.program import Add, Mul, Product, Program, State
from configs.registry import Entry

_TITLES = {
    "name": "layer",
    "brief": "",
    "output": "output",
    "activations": "elements",
    "int8": "as int8",
    "weights": "weights",
    "parameters": "parameters",
    "macs": "MACs",
    "reuse": "reuse",
    "weight_share": "weights\n%",
    "mac_share": "MACs\n%",
}
# The first of these that fits the terminal: all, the same without what can be read off
# (a byte for each element), or two tables, where space and work are.
_ALL = tuple(_TITLES)
_LAYOUTS = ((_ALL,), (_ALL[:4] + _ALL[5:],), (_ALL[:5], _ALL[:1] + _ALL[5:]))
# Without a terminal to ask, and without $COLUMNS.
_PIPE_COLUMNS = 100


def overview_data(entries: list[Entry]) -> dict[str, Any]:
    """What there is, as JSON."""
    return {"configs": [_entry_data(entry) for entry in entries]}


def network_data(entry: Entry) -> dict[str, Any]:
    """The layer table with totals and settings, as JSON."""
    network = entry.network
    return {
        **_entry_data(entry),
        "layers": [_layer_data(info, network) for info in network.leaves()],
        "totals": {
            "activations": network.activations,
            "weights": network.weights,
            "parameters": network.parameters,
            "macs": network.macs,
        },
        "experiment": entry.experiment and stored.to_dict(entry.experiment),
    }


def _entry_data(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": "experiment" if entry.experiment else "network",
        "what": entry.what,
        "input_shape": list(entry.network.input_shape),
        "parameters": entry.network.parameters,
        "macs": entry.network.macs,
        "data": _data_name(entry),
    }


def _layer_data(info: LayerInfo, network: Network) -> dict[str, Any]:
    return {
        "name": info.name,
        "spec": stored.to_dict(info.spec),
        "input_shape": list(info.input_shape),
        "output_shape": list(info.output_shape),
        "activations": info.activations,
        "activation_bytes": {"int8": info.activations, "float32": 4 * info.activations},
        "weights": info.weights,
        "parameters": info.parameters,
        "macs": info.macs,
        "reuse": info.reuse,
        "weight_share": _share(info.weights, network.weights),
        "mac_share": _share(info.macs, network.macs),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _data_name(entry: Entry) -> str | None:
    return entry.experiment and (entry.experiment.data.path or entry.experiment.data.name)


def print_overview(entries: list[Entry]) -> None:
    """One line for each entry, experiments before networks; long descriptions wrap."""
    table = _table()
    for title in ("name", "what", "input", "parameters", "MACs", "data"):
        right = title in ("parameters", "MACs")
        table.add_column(
            title,
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=title not in ("what", "data"),
        )
    for trained in (True, False):
        for entry in entries:
            if (entry.experiment is not None) is not trained:
                continue
            network = entry.network
            counts = _thousands(network.parameters), _thousands(network.macs)
            shape = _by(network.input_shape)
            table.add_row(entry.name, entry.what, shape, *counts, _data_name(entry) or "-")
        table.add_section()
    _console(80).print(table)


def print_network(entry: Entry) -> None:
    """The layer table, its sums in words, and the settings of an experiment."""
    network = entry.network
    rows = list(_cells(network))
    widths = [max(_width(rows, part) for part in layout) for layout in _LAYOUTS]
    console = _console(min(widths))
    fits = [width <= console.width for width in widths].index(True)
    title = f"{entry.name}: {entry.what}" if entry.what else entry.name
    console.print(title + "\n", style="bold")
    for part in _LAYOUTS[fits]:
        console.print(_layer_table(rows, part), "")
    for sentence in _sentences(network):
        console.print(sentence)
    if entry.experiment:
        console.print("\nSettings (each can be overridden, for example --train.epochs 3)")
        console.print(_settings(entry))


def _cells(network: Network) -> Iterator[dict[str, str]]:
    """Text of every cell: the input, the layers, the totals."""
    shape = network.input_shape
    yield {"name": "input", "output": _by(shape), **_memory(math.prod(shape))}
    for info in network.leaves():
        yield {
            "name": info.name,
            "brief": info.spec.brief(),
            "output": _by(info.output_shape),
            **_memory(info.activations),
            **_work(info, network),
        }
    yield {
        "name": "total",
        **_memory(network.activations),
        "weights": f"{network.weights:,}",
        "parameters": f"{network.parameters:,}",
        "macs": f"{network.macs:,}",
    }


def _memory(activations: int) -> dict[str, str]:
    return {"activations": f"{activations:,}", "int8": _bytes(activations)}


def _work(info: LayerInfo, network: Network) -> dict[str, str]:
    if not info.weights:
        return {}
    return {
        "weights": f"{info.weights:,}",
        "parameters": f"{info.parameters:,}",
        "macs": f"{info.macs:,}",
        "reuse": f"{info.reuse:,}",
        "weight_share": f"{100 * info.weights / network.weights:.1f}",
        "mac_share": f"{100 * info.macs / network.macs:.1f}",
    }


def _layer_table(rows: list[dict[str, str]], columns: tuple[str, ...]) -> Table:
    table = _table()
    for column in columns:
        left = column in ("name", "brief", "output")
        justify = "left" if left else "right"
        table.add_column(_TITLES[column], justify=justify, no_wrap=True)
    for row in rows:
        if row["name"] == "total":
            table.add_section()
        table.add_row(*(row.get(column, "") for column in columns))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)


def _width(rows: list[dict[str, str]], columns: tuple[str, ...]) -> int:
    texts = {
        c: [*_TITLES[c].split("\n"), *(row.get(c, "") for row in rows)] for c in columns
    }
    longest = (max(map(len, texts[column])) for column in columns)
    return sum(longest) + 2 * (len(columns) - 1)


def _sentences(network: Network) -> Iterator[str]:
    elements = network.activations
    yield (
        f"Activations, input included: {elements:,} elements, {_bytes(elements)} as "
        f"int8, {_bytes(4 * elements)} as float32."
    )
    yield (
        f"Weights: {_bytes(network.weights)} as int8, {_bytes(4 * network.weights)} as "
        f"float32. Parameters are weights and biases. MACs are for one image; reuse is "
        f"MACs per weight."
    )
    program = network.program
    if any(node.symmetry != "none" for node in program.products):
        deployed = network.lowered().weights
        yield (
            f"Orientations share weights: deployed as ordinary layers there are "
            f"{deployed:,}, {_bytes(deployed)} as int8."
        )
    yield from _uncounted(program)
    dense = [node for node in program.products if node.kernel is None]
    if dense and len(dense) < len(program.products):
        weights = sum(_own_weights(program, dense)) / network.weights
        macs = sum(node.macs for node in dense) / network.macs
        yield (
            f"Dense layers hold {100 * weights:.1f} % of the weights and do "
            f"{100 * macs:.1f} % of the MACs."
        )


def _own_weights(program: Program, products: list[Product]) -> Iterator[int]:
    names = {node.weights for node in products}
    yield from (node.counts()[0] for n, node in program.weighted.items() if n in names)


def _uncounted(program: Program) -> Iterator[str]:
    """What no figure of the table holds."""
    recurrent = {node.layer for node in program.nodes if isinstance(node, State)}
    joined = {type(n) for n in program.nodes if n.layer not in recurrent} & {Add, Mul}
    if Add in joined:
        yield (
            "The sum of a residual block takes the place of its body's output; additions "
            "are not counted."
        )
    if Mul in joined:
        yield "Products of two activations are not counted as MACs."
    if recurrent:
        yield (
            "An LstmCell is one time step, an Lstm all of a sequence; what they do element "
            "by element is not counted."
        )


def _settings(entry: Entry) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    settings = stored.to_dict(entry.experiment)
    del settings["network"]
    general = {k: v for k, v in settings.items() if not isinstance(v, dict)}
    sections = {k: v for k, v in settings.items() if isinstance(v, dict)}
    for section, fields in {"": general, **sections}.items():
        words = (f"{name}={_plain(value)}" for name, value in fields.items())
        table.add_row(section, "  ".join(words))
    return table


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ",".join(map(str, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _bytes(count: int) -> str:
    """Bytes in the largest unit of 1,024 that leaves at least 1."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} B"


def _thousands(count: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return str(count)


def _console(least: int) -> Console:
    """Writes to stdout, at least that wide: a narrow terminal wraps, nothing is cut."""
    console = Console(markup=False, emoji=False, highlight=False)
    free = not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit()
    console.width = max(_PIPE_COLUMNS if free else console.width, least)
    return console
