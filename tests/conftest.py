"""Strictness for every test: no implicit type promotion, no implicit rank promotion."""

import os
from pathlib import Path

import pytest

# Several devices on one CPU, so that sharded code meets more than one.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
).strip()
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
