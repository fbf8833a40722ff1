"""Imports point one way: configs <- train <- quant <- accel, and no module of a package is
imported by what it imports."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ("configs", "train", "quant", "accel")
# Never imported by a package.
OUTSIDE = ("tests", "benchmarks")
IMPORTERS = ("__import__", "import_module")


def modules(path: Path, root: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever in it the import stands."""
    folder = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(), path)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = folder[: len(folder) - level + 1]
                base = ".".join((*above, *filter(None, [module])))
                yield from (f"{base}.{alias.name}".strip(".") for alias in names)
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]):
                called = getattr(function, "attr", getattr(function, "id", None))
                if called in IMPORTERS:
                    yield name


def files(package: str, root: Path) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def turned_back(root: Path) -> list[str]:
    """Imports that point the wrong way, as "file imports module"."""
    return [
        f"{path.relative_to(root)} imports {module}"
        for place, package in enumerate(ORDER)
        for path in files(package, root)
        for module in modules(path, root)
        if module.partition(".")[0] in (*ORDER[place + 1 :], *OUTSIDE)
    ]


def test_imports_never_turn_back():
    assert all(files(package, ROOT) for package in ORDER), "or this would prove nothing"
    assert turned_back(ROOT) == []


def test_configs_needs_the_standard_library_and_rich_alone():
    """rich only where a table is made: other packages import the rest of configs."""
    allowed = {*sys.stdlib_module_names, "configs"}
    for path in files("configs", ROOT):
        top = {module.partition(".")[0] for module in modules(path, ROOT)}
        rich = {"rich"} if path.stem in ("table", "tables", "__main__") else set()
        assert top <= allowed | rich, path.name


@pytest.mark.parametrize(
    ("package", "statement", "module"),
    [
        ("configs", "import train", "train"),
        ("configs", "import os, train.loop as loop", "train.loop"),
        ("train", "from quant import export", "quant.export"),
        ("train", "from quant.export import onnx", "quant.export.onnx"),
        ("quant", "def f():\n    import accel.tile", "accel.tile"),
        ("quant", "if 0:\n    from accel import (\n        a,\n    )", "accel.a"),
        ("configs", "import importlib\nimportlib.import_module('accel')", "accel"),
        ("train", "__import__('quant.qat')", "quant.qat"),
        ("train", "from ..quant import qat", "quant.qat"),
        ("train", "from .. import quant", "quant"),
        ("accel", "import tests.helpers", "tests.helpers"),
    ],
)
def test_a_planted_import_is_found(package, statement, module, tmp_path):
    planted = tmp_path / package / "planted.py"
    planted.parent.mkdir()
    planted.write_text(statement + "\n")
    assert turned_back(tmp_path) == [f"{package}/planted.py imports {module}"]


def test_forward_imports_are_allowed(tmp_path):
    for package, statement in (
        ("accel", "from configs import network\nimport quant, train.model"),
        (
            "quant",
            "from train import loop\nfrom . import export\nimport training, accelerate",
        ),
        ("train", "from .train import accel\nfrom train import quant\nopen('accel')"),
    ):
        path = tmp_path / package / "planted.py"
        path.parent.mkdir()
        path.write_text(statement + "\n")
    assert turned_back(tmp_path) == []


def imported_at_once(path: Path, known: set[str]) -> set[str]:
    """Modules that a file imports while it is imported itself."""
    names = set()
    for node in _run_at_once(ast.parse(path.read_text(), path)):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases, level=0):
                whole = {f"{module}.{alias.name}" for alias in aliases}
                names |= (whole & known) or {module}
    return names & known


def _run_at_once(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements that are neither in a function nor for a type checker alone."""
    for node in ast.iter_child_nodes(tree):
        typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (typed or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield node
            yield from _run_at_once(node)


def circle(root: Path, packages: tuple[str, ...]) -> list[str]:
    """Modules that import each other in a ring, or none."""
    paths = {}
    for path in (path for package in packages for path in files(package, root)):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        paths[name.removesuffix(".__init__")] = path
    known = set(paths)
    graph = {name: imported_at_once(path, known) - {name} for name, path in paths.items()}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other():
    assert circle(ROOT, ORDER) == []


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("import train.b", "import train.a", True),
        ("from train import b", "from train.a import x", True),
        ("from train import b", "def f():\n    from train.a import x", False),
        ("from train import b", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
         "    from train.a import x", False),
        ("from train import b", "import configs", False),
    ],
)  # fmt: skip
def test_a_planted_circle_is_found(one, other, found, tmp_path):
    for name, text in (("__init__", ""), ("a", one), ("b", other)):
        path = tmp_path / "train" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
    assert bool(circle(tmp_path, ("train",))) is found
