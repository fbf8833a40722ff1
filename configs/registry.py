"""From a name or a path to an experiment or a network.

An experiment is a Python file with `get_config() -> Experiment`, a network without
training a file with `get_network() -> Network`. Files in this package are known by
their name; any other by its path.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import configs
from configs.errors import InputError
from configs.network import Network
from configs.schema import Experiment

# Modules of this package that describe no experiment.
_MACHINERY = {"__main__", "errors", "network", "registry", "schema", "stored", "table"}


def known_names() -> list[str]:
    """Experiments and networks that come with Lockstep."""
    found = {module.name for module in pkgutil.iter_modules(configs.__path__)}
    return sorted(found - _MACHINERY)


def describe(name: str) -> str:
    """First line of the docstring of a known experiment or network."""
    return (_module(name).__doc__ or "").strip().splitlines()[0]


def load_experiment(name_or_path: str) -> Experiment:
    """The experiment of that name, or of a `.py` file with `get_config()`.

    Raises:
      InputError: no such name or file, or it describes no experiment.
    """
    module = _module(name_or_path)
    if hasattr(module, "get_config"):
        return _made_by(module, "get_config", Experiment, name_or_path)
    if hasattr(module, "get_network"):
        raise InputError(
            f"`--config` (={name_or_path}) is a network without training; look at it "
            f"with `python -m configs show {name_or_path}`, or train one of "
            f"{', '.join(experiment_names())}."
        )
    raise InputError(
        f"`--config` (={name_or_path}) must define get_config() -> Experiment; "
        f"copy configs/mnist_cnn.py and change it."
    )


def load_network(name_or_path: str) -> Network:
    """The network of that name or path, of an experiment or by itself.

    Raises:
      InputError: no such name or file, or it describes no network.
    """
    module = _module(name_or_path)
    if hasattr(module, "get_network"):
        return _made_by(module, "get_network", Network, name_or_path)
    return load_experiment(name_or_path).network


def experiment_names() -> list[str]:
    """Known names that can be trained."""
    return [name for name in known_names() if hasattr(_module(name), "get_config")]


def _made_by(module: ModuleType, function: str, kind: type, name: str):
    made = getattr(module, function)()
    if not isinstance(made, kind):
        raise InputError(
            f"`{function}` of `--config` (={name}) must return {kind.__name__}, not "
            f"{type(made).__name__}; see configs/mnist_cnn.py."
        )
    return made


def _module(name_or_path: str) -> ModuleType:
    if name_or_path in known_names():
        return importlib.import_module(f"configs.{name_or_path}")
    looks_like_path = "/" in name_or_path or name_or_path.endswith(".py")
    if not looks_like_path:
        close = difflib.get_close_matches(name_or_path, known_names(), n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InputError(
            f"`--config` (={name_or_path}) is not a known name. {hint}Known: "
            f"{', '.join(known_names())}; or give the path of a .py file."
        )
    path = Path(name_or_path)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(
            f"`--config` (={name_or_path}) must be an existing .py file with "
            f"get_config(); known names: {', '.join(known_names())}."
        )
    return _from_file(path)


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"`--config` (={path}) could not be read: {type(error).__name__}: {error}; "
            f"mend the file, `python {path}` shows where."
        ) from error
    return module
