"""Who the processes are, and how arrays get onto the devices and back."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from configs.errors import InputError
from train import mesh
from train.distributed import Distributed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"coordinator": "10.0.0.1:8476", "processes": 2},
        {"coordinator": "[::1]:8476", "processes": 3, "process": 2, "heartbeat_s": 1},
    ],
)
def test_one_process_or_several_with_a_coordinator(fields: dict) -> None:
    made = Distributed(**fields)
    assert {name: getattr(made, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"processes": 2}, "`--distributed.coordinator` (='') goes with"),
        (
            {"coordinator": "host:1"},
            "(='host:1') goes with `--distributed.processes` (=1) above 1",
        ),
        (
            {"coordinator": "host:1", "processes": 2, "process": 2},
            "`--distributed.process` (=2) must be 0 to 1,",
        ),
        (
            {"coordinator": "host:1", "processes": 2, "process": -1},
            "`--distributed.process` (=-1) must be 0 to 1,",
        ),
        ({"process": 1}, "`--distributed.process` (=1) must be 0 to 0,"),
        ({"processes": 0}, "`--distributed.process` (=0) must be 0 to -1,"),
        (
            {"coordinator": "host", "processes": 2},
            "`--distributed.coordinator` (='host') must be host:port",
        ),
        (
            {"coordinator": "host:", "processes": 2},
            "`--distributed.coordinator` (='host:') must be host:port",
        ),
        ({"heartbeat_s": 0}, "`--distributed.heartbeat_s` (=0) must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(fields: dict, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        Distributed(**fields)


@pytest.fixture
def both():
    made = mesh.all_devices()
    assert made.devices.tolist() == jax.devices()
    assert (made.size, made.axis_names) == (2, (mesh.AXIS,))
    return made


TREE = {
    "kernel": np.arange(24, dtype=np.float32).reshape(4, 6),
    "labels": np.array([3, 1, 2, 0], np.int32),
    "pixels": np.arange(16, dtype=np.uint8).reshape(4, 2, 2),
}


def test_replicated_arrays_are_whole_on_every_device(both) -> None:
    """Scalars and arrays that are on a device already, too; types stay."""
    tree = {**TREE, "step": jnp.int32(7), "old": jnp.arange(3.0), "healthy": jnp.bool(True)}
    placed = mesh.place(tree, both)
    for name, host in tree.items():
        assert len(placed[name].addressable_shards) == 2
        assert {shard.device for shard in placed[name].addressable_shards} == {
            *jax.devices()
        }
        for shard in placed[name].addressable_shards:
            np.testing.assert_array_equal(shard.data, host)
            assert shard.data.dtype == host.dtype


def test_split_arrays_have_their_part_on_each_device(both) -> None:
    """The first half on the first; the spec says which axis."""
    for spec, halves in (
        (P(mesh.AXIS), lambda x: (x[:2], x[2:])),
        (P(None, mesh.AXIS), lambda x: (x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :])),
    ):
        tree = {name: x for name, x in TREE.items() if x.ndim >= len(spec)}
        placed = mesh.place(tree, both, spec)
        for name, host in tree.items():
            shards = placed[name].addressable_shards
            assert [shard.device for shard in shards] == jax.devices()
            for shard, half in zip(shards, halves(host), strict=True):
                np.testing.assert_array_equal(shard.data, half)


def test_fetch_gives_back_what_was_placed(both) -> None:
    """As host arrays of the same type and shape."""
    tree = {**TREE, "step": np.int32(7)}
    fetched = mesh.fetch(mesh.place(tree, both))
    assert fetched.keys() == tree.keys()
    for name, host in tree.items():
        assert type(fetched[name]) is np.ndarray
        assert fetched[name].dtype == host.dtype
        np.testing.assert_array_equal(fetched[name], host)


def test_fetch_of_a_computed_sum_is_the_sum(both) -> None:
    """A replicated result of sharded arguments is read from one device."""
    pixels = mesh.place(TREE["pixels"], both, P(mesh.AXIS))
    replicated = jax.sharding.NamedSharding(both, mesh.REPLICATED)
    total = jax.jit(lambda x: x.astype(jnp.int32).sum(0), out_shardings=replicated)(pixels)
    np.testing.assert_array_equal(mesh.fetch(total), TREE["pixels"].sum(0))


@pytest.mark.parametrize("shape", [(), (3,)])
def test_random_keys_stay_keys(both, shape) -> None:
    """They draw the same numbers as before, on both devices."""
    key = jax.random.key(5)
    key = jax.random.split(key, shape) if shape else key
    placed = mesh.place({"key": key}, both)["key"]
    assert placed.dtype == key.dtype
    assert placed.shape == shape
    assert placed.sharding.device_set == {*jax.devices()}
    np.testing.assert_array_equal(jax.random.key_data(placed), jax.random.key_data(key))
    first = lambda keys: jax.random.uniform(keys.reshape(-1)[0])
    assert first(placed) == first(key)


def test_start_makes_as_many_devices_of_the_cpu_as_asked() -> None:
    """In a process of its own, before JAX looks for devices; a 1 changes nothing."""
    code = """
import jax
from train import mesh
from train.distributed import Distributed
before = jax.config.jax_num_cpu_devices
mesh.start(Distributed(), 1)
assert jax.config.jax_num_cpu_devices == before
mesh.start(Distributed(), 3)
print(mesh.all_devices().size)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("3\n", 0), done.stderr


def test_start_hands_on_who_the_processes_are(monkeypatch) -> None:
    """To JAX, and only if there is a coordinator."""
    settings, calls = {}, []
    monkeypatch.setattr(jax.config, "update", settings.__setitem__)
    take = lambda *arguments, **keywords: calls.append((arguments, keywords))
    monkeypatch.setattr(jax.distributed, "initialize", take)
    mesh.start(Distributed(), 1)
    assert (settings, calls) == ({}, [])
    who = Distributed(coordinator="host:1", processes=4, process=2, heartbeat_s=7)
    mesh.start(who, 1)
    assert settings["jax_cpu_collectives_implementation"] == "gloo"
    [(arguments, keywords)] = calls
    assert arguments == ("host:1", 4, 2)
    assert keywords["heartbeat_timeout_seconds"] == 7
