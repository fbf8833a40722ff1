"""Strictness for every test: no implicit type promotion, no implicit rank promotion."""

import os
from pathlib import Path

import pytest

# Several devices on one CPU, so that sharded code meets more than one.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
).strip()
# Nearly all that the suite does is compile: workers, and the next run, share what XLA made.
# The key holds the program, the compiler and its flags, so that nothing stale is met.
_COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "xla"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# No test depends on what is cached on this machine, or changes it.
os.environ.pop("LOCKSTEP_MIRROR", None)


def pytest_configure(config: pytest.Config) -> None:
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    data = os.environ.get("TFDS_DATA_DIR", "")
    if not (data and (Path(data) / "mnist").is_dir()):
        skip = pytest.mark.skip(reason="no full MNIST in $TFDS_DATA_DIR")
        for item in items:
            if "full_data" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch, request) -> None:
    """Each worker has a cache folder of its own."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
