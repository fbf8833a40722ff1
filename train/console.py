"""One way to run a command: exit status, a clean stdout, the cores of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from configs.errors import InputError


def guarded(command: Callable[[], int]) -> int:
    """Runs a command; a user's mistake becomes one line on stderr and status 2."""
    try:
        status = command()
        sys.stdout.flush()
        return status
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader has left; without this the interpreter complains when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT


@contextlib.contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Sends to stderr what libraries below Python print, so that stdout holds results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def all_cores() -> int:
    """One JAX device for each core: images are shared out over devices."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if jax.config.jax_num_cpu_devices < cores:
        jax.config.update("jax_num_cpu_devices", cores)
    return cores
