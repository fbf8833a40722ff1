"""A small experiment and the helpers that run it in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

CONFIG = """
from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.schema import Augment, Data, Experiment, Train


def get_config():
    return Experiment(
        name="tiny",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Pool(),
                Conv(features=2),
                Pool(),
                Flatten(),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(source="embedded", limit=256),
        augment=Augment(shift_px=1),
        train=Train(epochs=4, batch=16, microbatch=8, checkpoint_every_s=0),
    )
"""

# No pictures: what is tested is training.
QUICK = """
import sys
from train import stage
stage.write_pictures = lambda folder, **keywords: []
"""
MAIN = """
from train.cli import main
sys.exit(main(sys.argv[1:]))
"""


def config(folder: Path) -> str:
    """Path of a config file of the small experiment."""
    path = folder / "tiny.py"
    path.write_text(CONFIG)
    return str(path)


def environment() -> dict[str, str]:
    """One device and this checkout's packages, wherever the process starts."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": path.strip(os.pathsep)}


def start(*arguments: str, before: str = "") -> subprocess.Popen:
    """`python -m train ARGUMENTS`, after the code in `before` has run."""
    return subprocess.Popen(
        [sys.executable, "-c", QUICK + before + MAIN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def finish(process: subprocess.Popen, timeout_s: float = 120) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a process; it is killed after the time."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"no end after {timeout_s} s: {out}{err}") from None
    return process.returncode, out, err


def train(*arguments: str, before: str = "") -> tuple[int, str, str]:
    """Runs to the end: exit status, stdout, stderr."""
    return finish(start(*arguments, before=before))
