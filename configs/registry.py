"""From a name or a path to an experiment or a network.

An experiment is a Python file with `get_config() -> Experiment`, a network without
training a file with `get_network() -> Network`. Files in this package are known by
their name; any other by its path.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import configs
from configs.errors import InputError
from configs.network import Network
from configs.schema import Experiment

# Modules of this package that describe no experiment.
_MACHINERY = {
    "__main__",
    "checks",
    "errors",
    "layers",
    "network",
    "program",
    "registry",
    "resnets",
    "robust",
    "schema",
    "stored",
    "table",
    "tables",
    "tpu_apps",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a name or a path stands for."""

    name: str
    # First line of the file's docstring, without its full stop.
    what: str
    network: Network
    # Absent if the network comes without training.
    experiment: Experiment | None = None


def known_names() -> list[str]:
    """Experiments and networks that come with Lockstep."""
    found = {module.name for module in pkgutil.iter_modules(configs.__path__)}
    return sorted(found - _MACHINERY)


def experiment_names() -> list[str]:
    """Known names that can be trained."""
    return [name for name in known_names() if hasattr(_module(name), "get_config")]


def load(name_or_path: str) -> Entry:
    """The experiment or else the network of that name or path.

    Raises:
      InputError: no such name or file, or it describes neither.
    """
    module = _module(name_or_path)
    lines = (module.__doc__ or "").strip().splitlines()
    what = lines[0].rstrip(".") if lines else ""
    if hasattr(module, "get_network"):
        network = _made_by(module, "get_network", Network, name_or_path)
        return Entry(name=Path(name_or_path).stem, what=what, network=network)
    experiment = _experiment_of(module, name_or_path)
    return Entry(
        name=experiment.name,
        what=what,
        network=experiment.network,
        experiment=experiment,
    )


def load_experiment(name_or_path: str) -> Experiment:
    """The experiment of that name, or of a `.py` file with `get_config()`.

    Raises:
      InputError: no such name or file, or it describes no experiment.
    """
    return _experiment_of(_module(name_or_path), name_or_path)


def load_network(name_or_path: str) -> Network:
    """The network of that name or path, of an experiment or by itself.

    Raises:
      InputError: no such name or file, or it describes neither.
    """
    return load(name_or_path).network


def _experiment_of(module: ModuleType, name_or_path: str) -> Experiment:
    if hasattr(module, "get_config"):
        return _made_by(module, "get_config", Experiment, name_or_path)
    if hasattr(module, "get_network"):
        raise InputError(
            f"`config` (={name_or_path}) is a network without training; look at it "
            f"with `python -m configs show {name_or_path}`, or train one of "
            f"{', '.join(experiment_names())}."
        )
    raise InputError(
        f"`config` (={name_or_path}) must define get_config() -> Experiment; "
        f"copy configs/mnist_cnn.py and change it."
    )


def _made_by(module: ModuleType, function: str, kind: type, name: str):
    with _running(Path(module.__file__)):
        made = getattr(module, function)()
    if type(made) is not kind:
        raise InputError(
            f"`{function}` of `config` (={name}) must return {kind.__name__}, not "
            f"{type(made).__name__}; see configs/mnist_cnn.py."
        )
    return made


def _module(name_or_path: str) -> ModuleType:
    if name_or_path in known_names():
        with _running(Path(configs.__path__[0]) / f"{name_or_path}.py"):
            return importlib.import_module(f"configs.{name_or_path}")
    path = Path(name_or_path)
    if "/" in name_or_path or path.suffix == ".py" or os.path.exists(name_or_path):
        return _from_file(path)
    close = difflib.get_close_matches(name_or_path, known_names(), n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise InputError(
        f"`config` (={name_or_path}) is not a known name. {hint}Known: "
        f"{', '.join(known_names())}; or give the path of a .py file."
    )


def _from_file(path: Path) -> ModuleType:
    """Runs a user's file as a module of its own, whatever other files are called."""
    if path.suffix != ".py" or not os.path.isfile(path):
        raise InputError(
            f"`config` (={path}) must be an existing .py file with get_config(); "
            f"known names: {', '.join(known_names())}."
        )
    path = path.resolve()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    module = ModuleType(f"config_{digest}_{path.stem}")
    module.__file__ = str(path)
    # Dataclasses of the file look their module up there.
    sys.modules[module.__name__] = module
    with _running(path):
        # Not importlib's loader: its bytecode cache can miss an edit within a second.
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def _running(path: Path) -> Iterator[None]:
    """Code of a config file may import its neighbours, and fails in one sentence.

    What it prints goes to stderr: stdout belongs to the command.
    """
    folder, before = str(path.parent), set(sys.modules)
    sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:
        line = _line(error, path)
        if isinstance(error, InputError):
            raise InputError(f"{path.name}{line}: {error}") from None
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"`config` (={path}){line} could not be run: {said}; mend the file."
        ) from error
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            # A neighbour with the same name in another folder must not find this one.
            file = getattr(sys.modules[name], "__file__", None)
            if file and "." not in name and os.path.dirname(file) == folder:
                del sys.modules[name]


def _line(error: BaseException, path: Path) -> str:
    """Where in the file it happened, as text; empty if it did not happen there."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
