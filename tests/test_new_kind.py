"""A layer kind made up here, in one short file, goes through every stage."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from accel.machines.machine import Systolic
from accel.verify.run import Setup
from accel.verify.verify import verify
from accel.workload.gemm import gemms
from configs import registry, stored
from configs.errors import InputError
from quant import equivalence, exports, files, normative
from quant.fit import quantise
from quant.settings import Quantization
from train import data, stage

ROOT = Path(__file__).parents[1]
KIND = '''
"""A digit network with a squeeze-and-excite block, a kind of this file's own."""

from dataclasses import dataclass

from configs.layers import Conv, Dense, GlobalPool, Layer
from configs.network import Network
from configs.schema import Data, Experiment, Train


@dataclass(frozen=True, kw_only=True)
class SqueezeExcite(Layer):
    """Channels weighed by a small network of their means (Hu et al., arXiv:1709.01507)."""

    squeezed: int = 2

    def lower(self, b, x):
        height, width, channels = b.shape(x)
        here, outside = b.layer, f"{b.layer}."
        path = (GlobalPool(), Dense(features=self.squeezed),
                Dense(features=channels, activation="sigmoid"))
        factors = b.chain(path, x, "path", outside)
        return b.activate(b.times(x, factors), "identity")

    def brief(self):
        return f"through {self.squeezed}"


def get_config():
    layers = (Conv(features=4, stride=(3, 3)), SqueezeExcite(), GlobalPool(),
              Dense(features=10, activation="identity"))
    return Experiment(
        name="excited", network=Network(input_shape=(28, 28, 1), layers=layers),
        data=Data(source="embedded", limit=256, validation=0),
        train=Train(epochs=1, batch=64),
    )
'''


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    path = tmp_path_factory.mktemp("kind") / "excited.py"
    path.write_text(KIND)
    lines = KIND.split("@dataclass")[1].split("def get_config")[0].strip().splitlines()
    assert len(lines) <= 40, "a kind is short"
    return registry.load_experiment(str(path))


@pytest.fixture(scope="module")
def trained(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("excited") / "run"
    metrics = stage.run(experiment, folder)
    assert metrics["parameters"] == experiment.network.parameters
    return stage.load(folder)


@pytest.fixture(scope="module")
def fitted(experiment, trained):
    return quantise(trained, data.load(experiment.data), Quantization(epochs=1))


def test_it_is_described_and_stored(experiment):
    network = experiment.network
    names = [info.name for info in network.walk()]
    assert names == ["conv1", "squeezeexcite1", "globalpool1", "dense1"]
    assert [info.spec.brief() for info in network.walk()][1] == "through 2"
    # 4 means to 2 and back.
    assert list(network.walk())[1].weights == 4 * 2 + 2 * 4
    assert stored.from_dict(stored.to_dict(experiment)) == experiment


def test_it_trains_and_quantises(experiment, fitted):
    images = data.load(experiment.data).test.images[:20]
    outputs = normative.run(fitted.network, images)
    assert len(np.unique(outputs, axis=0)) > 10
    real = np.asarray(jax.jit(fitted.model)(images)) / fitted.network.output.scale
    assert np.mean(real != outputs) < 0.01


def test_it_is_exported_to_every_runtime(experiment, fitted, tmp_path):
    network = fitted.network
    contents = {n: exports.module(n).encode(network) for n in exports.FORMATS}
    images = data.load(experiment.data).test.images[:20]
    verdicts, _ = equivalence.prove(network, contents, images, threads=1)
    assert {v.runtime for v in verdicts} >= {"numpy", "jax", "onnxruntime", "litert"}
    assert [v.mismatches for v in verdicts] == [0] * len(verdicts)
    files.save(network, tmp_path / "quant", source={}, files={})
    again = files.load(tmp_path / "quant").network
    np.testing.assert_array_equal(
        normative.run(again, images), normative.run(network, images)
    )


def test_it_runs_on_an_array_and_costs(experiment, fitted):
    images = data.load(experiment.data).test.images[:2]
    found = verify(fitted.network, images, Setup(machine=Systolic(rows=8, cols=8)))
    assert found.holds
    products = {gemm.name: gemm.macs for gemm in gemms(fitted.network.network)}
    assert sum(products.values()) == fitted.network.network.macs
    assert products["squeezeexcite1.dense1"] == 4 * 2


ODD = """
from dataclasses import dataclass

from configs.layers import Dense, Flatten, Layer
from configs.network import Network
from configs.program import Node
from configs.schema import Data, Experiment


@dataclass(frozen=True, kw_only=True)
class Sort(Node):
    pass


@dataclass(frozen=True, kw_only=True)
class Sorted(Layer):
    def lower(self, b, x):
        return b.add(Sort, (x,), part="")


def get_config():
    layers = (Flatten(), Sorted(), Dense(features=10, activation="identity"))
    return Experiment(
        name="sorted", network=Network(input_shape=(28, 28, 1), layers=layers),
        data=Data(source="embedded"),
    )
"""


def test_a_kind_with_an_unknown_operator_is_refused_by_name(tmp_path, monkeypatch):
    """By the first thing that reads the network, whatever the command."""
    monkeypatch.chdir(tmp_path)
    Path("sorted.py").write_text(ODD)
    for command in (
        ["configs", "show", "sorted.py"],
        ["train", "--config", "sorted.py"],
        ["accel", "cost", "--config", "sorted.py"],
        ["accel", "tpu", "--config", "sorted.py"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 2
        assert "`Sort` is a kind that configs.program does not know" in done.stderr
        assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["sorted.py"]
    with pytest.raises(InputError, match="`Sort`"):
        registry.load_network("sorted.py")
    assert "sorted" not in sys.modules
