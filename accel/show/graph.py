"""How values flow through a network that forks and joins, as SVG: a box for each step.

A row for each depth, the longest path from the input; what is in a row may be done side by
side. A network of very many steps is drawn by layers. Colours are the page's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from configs.program import Program

# Boxes that a drawing may have.
MOST = 48
_WIDTH, _HEIGHT, _APART_X, _APART_Y = 168, 26, 20, 30
_HEAD = Markup(
    '<svg class="graph" role="img" viewBox="0 0 {} {}" width="{}" height="{}"><title>{}'
    "</title>"
)
_LINE = Markup(
    '<path d="M{} {} L{} {}" stroke="currentColor" stroke-opacity="0.5" fill="none"/>'
)
_BOX = Markup(
    '<rect x="{}" y="{}" width="{}" height="{}" rx="5" stroke="currentColor" fill="none"/>'
    '<text x="{}" y="{}" text-anchor="middle" font-size="12" fill="currentColor">{}</text>'
)
_END = Markup("</svg>")

# For each box, in order, the boxes that it takes values from.
Edges = Mapping[str, tuple[str, ...]]


def edges(program: Program) -> Edges:
    """By steps; where there are too many, by layers, and a layer is one box."""
    starts = {node.name: node.name for node in program.nodes if not node.inputs}
    own = {step.name: step.name for step in program.steps}
    if len(own) > MOST:
        starts = {name: program.by_name[name].layer for name in starts}
        own = {step.name: step.nodes[-1].layer for step in program.steps}
    box = starts | own
    found: dict[str, dict[str, None]] = {name: {} for name in starts.values()}
    for step in program.steps:
        taken = found.setdefault(box[step.name], {})
        taken |= {box[n]: None for n in step.inputs if box[n] != box[step.name]}
    return {name: tuple(taken) for name, taken in found.items()}


def forks(program: Program) -> bool:
    """Whether it is more than one step after the other."""
    several = any(len(step.inputs) > 1 for step in program.steps)
    return several or any(len(nodes) > 1 for nodes in program.readers.values())


def depths(found: Edges) -> dict[str, int]:
    """Boxes on the longest path before each one.

    Boxes come in the order in which steps are done, but a layer may have begun before
    what its later steps take: it stands below all of them.

    >>> depths({"a": (), "b": ("a",), "c": ("a", "b")})
    {'a': 0, 'b': 1, 'c': 2}
    """
    deep = dict.fromkeys(found, 0)
    for _ in found:
        moved = {
            name: max((deep[other] + 1 for other in taken), default=0)
            for name, taken in found.items()
        }
        if moved == deep:
            break
        deep = moved
    return deep


def draw(program: Program) -> Markup:
    """The drawing."""
    found = edges(program)
    deep = depths(found)
    rows: list[list[str]] = [[] for _ in range(max(deep.values()) + 1)]
    for name in found:
        rows[deep[name]].append(name)
    wide = max(len(row) for row in rows) * (_WIDTH + _APART_X)
    high = len(rows) * (_HEIGHT + _APART_Y)
    places = {name: at for row in rows for name, at in _row(row, deep, wide)}
    told = "; ".join(
        f"{name} takes {', '.join(taken)}" for name, taken in found.items() if taken
    )
    parts = [_HEAD.format(wide, high, wide, high, told)]
    for name, taken in found.items():
        x, y = places[name]
        for other in taken:
            from_x, from_y = places[other]
            parts.append(_LINE.format(from_x, from_y + _HEIGHT, x, y))
    for name, (x, y) in places.items():
        left, base = x - _WIDTH / 2, y + _HEIGHT / 2 + 4
        parts.append(_BOX.format(left, y, _WIDTH, _HEIGHT, x, base, _short(name)))
    return Markup("").join([*parts, _END])


def _row(row: Sequence[str], deep: Mapping[str, int], wide: float):
    """Name, and middle and top of its box."""
    each = wide / len(row)
    for index, name in enumerate(row):
        top = deep[name] * (_HEIGHT + _APART_Y) + _APART_Y / 2
        yield name, (round((index + 0.5) * each, 1), top)


def _short(name: str) -> str:
    """
    >>> _short("residual1.conv1"), _short("concat1.branch2.residual1.conv12")
    ('residual1.conv1', '…ch2.residual1.conv12')
    """
    return name if len(name) <= 24 else f"…{name[-20:]}"
