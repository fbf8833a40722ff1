"""SCALE-Sim 3.0.0 as a peer: its own environment, and its rate on a product.

It needs another numpy than we do, so it lives in $XDG_CACHE_HOME/lockstep/scalesim-venv
and runs in a process of its own (`scalesim_run.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from accel.predict import scalesim
from accel.workload.gemm import Gemm
from configs.errors import InputError
from train.cache import directory

PACKAGES = ("scalesim==3.0.0", "numpy<2.4")
_SCRIPT = Path(__file__).with_name("scalesim_run.py")
_VERSIONS = "from importlib.metadata import version as v; print(v('scalesim'), v('numpy'))"


class OtherWork(Exception):
    """SCALE-Sim failed, or counts other cycles than we do."""


def python(given: str | None = None) -> str:
    """A Python that has the packages; makes an environment unless one is given.

    Raises:
      InputError: there is none, and none can be made.
    """
    if given:
        # Not resolved: an environment's Python is a link that must be called by its name.
        path = os.path.abspath(given)
        if not _fits(path):
            raise InputError(
                f"`--scalesim` (={given}) must be a Python with {' and '.join(PACKAGES)}; "
                f"leave it out to have one made, or use --no-peer."
            )
        return path
    folder = directory() / "scalesim-venv"
    path = str(folder / "bin" / "python")
    if not _fits(path):
        print(f"installing {' '.join(PACKAGES)} into {folder}", file=sys.stderr, flush=True)
        _install(folder, path)
    return path


def _install(folder: Path, path: str) -> None:
    pip = [path, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, *PACKAGES],
    ):
        # pip's warnings belong on stderr: stdout ends with the line of JSON.
        if subprocess.run(command, stdout=sys.stderr.fileno()).returncode:
            raise InputError(
                f"`{' '.join(PACKAGES)}` could not be installed into {folder}; give "
                f"--scalesim PYTHON, or --no-peer to do without."
            )


def _fits(path: str) -> bool:
    """Whether a Python runs and has the packages."""
    try:
        found = subprocess.run([path, "-c", _VERSIONS], capture_output=True, text=True)
    except OSError:
        return False
    if found.returncode:
        return False
    peer, numpy = found.stdout.split()
    return f"scalesim=={peer}" in PACKAGES and tuple(
        int(part) for part in numpy.split(".")[:2]
    ) < (2, 4)


def rate(path: str, size: int, gemm: Gemm) -> float:
    """Cycles a second on a square array, which it must count as we do less its one.

    Raises:
      OtherWork: it does not, or it fails.
    """
    words = (size, size, gemm.M, gemm.K, gemm.N)
    command = [path, str(_SCRIPT), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OtherWork(f"SCALE-Sim failed on {gemm}:\n{done.stderr or done.stdout}")
    found = json.loads(done.stdout.splitlines()[-1])
    array = {"rows": size, "cols": size, "dataflow": "ws"}
    wanted = scalesim.figures(gemm.M, gemm.K, gemm.N, **array).total_cycles
    if found["cycles"] != wanted:
        raise OtherWork(
            f"SCALE-Sim counts {found['cycles']} cycles on {gemm} where {wanted} are due: "
            f"this is not the same work"
        )
    return scalesim.count(gemm.M, gemm.K, gemm.N, **array).cycles / found["seconds"]
