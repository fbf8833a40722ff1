"""The StableHLO file computes what the normative arithmetic says, or it is named."""

import contextlib
import dataclasses
import hashlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import integers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from quant import execute, normative
from quant.exports import stablehlo

ROOT = Path(__file__).parents[3]
FLOATS = re.compile(r"(?<![a-z0-9_])(b?f\d+\w*|tf32|complex)(?![a-z0-9_])")


@pytest.fixture(scope="module")
def made():
    """Network and file of each kind of network, made once."""
    held = {}

    def make(name: str, bits: int = 8):
        if (name, bits) not in held:
            network = integers.filled(
                integers.spec(name), weight_bits=bits, activation_bits=bits
            )
            held[name, bits] = network, stablehlo.encode(network)
        return held[name, bits]

    return make


def assert_exact(network, content, images):
    outputs = stablehlo.layer_outputs(content, network, images)
    assert list(outputs) == [layer.name for layer in network.walk()]
    for step in normative.steps(network, images):
        found = outputs[step.layer.name]
        assert found.dtype == step.output.dtype
        assert np.array_equal(found, step.output), step.layer.name
        moving = any(len(np.unique(x)) > 1 for x in step.inputs)
        assert len(np.unique(found)) > 1 or not moving, "or a constant would pass too"
    logits = stablehlo.open_session(content)(images)
    assert logits.dtype == network.output.dtype
    assert np.array_equal(logits, step.output)


@pytest.mark.parametrize("name", integers.SPECS)
@pytest.mark.parametrize("bits", [8, 4])
def test_every_layer_is_exact(made, name, bits):
    network, content = made(name, bits)
    assert_exact(network, content, integers.images(network.network, 16))


@pytest.mark.parametrize("shift", [17, 19, 21])
def test_every_shift_is_exact(shift):
    """The multiplier times a power of two at a larger shift is certified as it was."""
    network = integers.filled(integers.spec("cnn"))
    factor = 1 << (shift - 16)
    weighted = {
        name: dataclasses.replace(
            w, shift=shift, multiplier=np.minimum(w.multiplier, 65535 // factor) * factor
        )
        for name, w in network.weighted.items()
    }
    network = dataclasses.replace(network, weighted=weighted)
    content = stablehlo.encode(network)
    assert_exact(network, content, integers.images(network.network, 8))


@pytest.mark.parametrize("count", [0, 1, 3, 257])
def test_any_number_of_images(made, count):
    network, content = made("cnn")
    images = integers.images(network.network, count)
    logits = stablehlo.open_session(content, threads=2)(images)
    expected = normative.run(network, images)
    assert (logits.shape, logits.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(logits, expected)


def test_no_layer_is_unsupported(made):
    for name in integers.SPECS:
        assert not any(map(stablehlo.unsupported, made(name)[0].walk()))


@pytest.mark.parametrize("name", integers.SPECS)
def test_the_program_holds_integers_only(made, name):
    text = export.deserialize(bytearray(made(name)[1])).mlir_module()
    assert "tensor<" in text
    assert not FLOATS.search(text)


def test_a_float_would_be_found():
    half = export.export(jax.jit(lambda x: x * 0.5))(jnp.zeros(3))
    assert FLOATS.search(half.mlir_module())


def test_the_file_is_for_every_platform(made):
    exported = export.deserialize(bytearray(made("cnn")[1]))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert [str(aval) for aval in exported.in_avals] == ["uint8[batch,9,8,2]"]
    assert [str(aval.dtype) for aval in exported.out_avals][-1] == "int8"


def paths(content: bytes) -> list[bytes]:
    """Everything in a file that looks like the path of a Python file or a folder here."""
    places = [str(place).encode() for place in (ROOT, Path.home(), sys.prefix, Path.cwd())]
    places = [place for place in places if len(place) > 1]
    return re.findall(rb"[\w/.-]+\.py\b", content) + [p for p in places if p in content]


def test_the_file_names_no_path_of_this_machine(made, monkeypatch):
    network, content = made("cnn")
    assert paths(content) == []
    monkeypatch.setattr(stablehlo, "_without_paths", contextlib.nullcontext)
    assert len(paths(stablehlo.encode(network))) > 2, "or there would be nothing to hide"


def test_the_setting_that_leaves_paths_out_is_put_back():
    before = jax.config.jax_traceback_in_locations_limit
    stablehlo.encode(integers.filled(integers.spec("mean")))
    assert jax.config.jax_traceback_in_locations_limit == before != 0


def test_nothing_is_unpickled(made, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle")

    for name in ("load", "loads", "Unpickler", "_Unpickler", "dumps", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    network, _ = made("mean")
    content = stablehlo.encode(network)
    assert export.deserialize(bytearray(content)).fun_name.startswith("lockstep_jax_")


def test_another_process_writes_the_same_bytes(made, tmp_path):
    """Another order of hashes, folder, number of devices, and nothing done before."""
    network, content = made("edge")
    jax.jit(lambda x: execute.run(network, x).outputs)(
        integers.images(network.network, 2)
    )  # fills JAX's caches
    code = (
        "import hashlib, integers\n"
        "from quant.exports import stablehlo\n"
        "content = stablehlo.encode(integers.filled(integers.spec('edge')))\n"
        "print(hashlib.sha256(content).hexdigest())\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    env.pop("XLA_FLAGS", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.stdout.strip() == hashlib.sha256(content).hexdigest(), done.stderr
    assert stablehlo.encode(network) == content


def with_change(network, layer, tensor, index, value):
    w = network.weighted[layer]
    array = getattr(w, tensor).copy()
    array.flat[index] = value
    changed = dataclasses.replace(w, **{tensor: array})
    return dataclasses.replace(network, weighted={**network.weighted, layer: changed})


@pytest.mark.parametrize(
    ("name", "layer", "tensor"),
    [
        ("cnn", "conv1", "weights"),
        ("cnn", "conv2", "bias"),
        ("cnn", "dense1", "multiplier"),
        ("cnn", "dense2", "weights"),
        ("edge", "conv1", "table"),
        ("edge", "conv2", "table"),
    ],
)
def test_a_changed_constant_is_named(made, name, layer, tensor):
    network, content = made(name)
    assert stablehlo.differences(content, network) is None
    index = getattr(network.weighted[layer], tensor).size - 1
    right = int(getattr(network.weighted[layer], tensor).flat[index])
    changed = with_change(network, layer, tensor, index, right ^ 1)
    sentence = stablehlo.differences(stablehlo.encode(changed), network)
    assert sentence == f"`{layer}.{tensor}` at index {index} is {right ^ 1}, not {right}."


def test_constants_of_one_value_matter_too(made):
    """JAX writes them in a short form, which a search for their bytes does not find."""
    network, _ = made("cnn")
    same = {
        name: dataclasses.replace(w, bias=np.full_like(w.bias, 5))
        for name, w in network.weighted.items()
    }
    network = dataclasses.replace(network, weighted=same)
    changed = with_change(network, "conv1", "bias", slice(None), 6)
    assert stablehlo.differences(stablehlo.encode(network), network) is None
    assert stablehlo.differences(stablehlo.encode(changed), network)


def test_another_structure_is_a_difference(made):
    network, content = made("cnn")
    for name in ("mean", "edge", "signed"):
        assert stablehlo.differences(content, made(name)[0])
    wider = {
        name: dataclasses.replace(
            w,
            output=dataclasses.replace(w.output, bits=7),
            sum=dataclasses.replace(w.sum, bits=7),
        )
        for name, w in network.weighted.items()
    }
    wider = dataclasses.replace(network, weighted=wider)
    assert stablehlo.differences(content, wider)


def test_hostile_bytes_give_a_sentence_and_are_never_parsed(made, monkeypatch):
    network, content = made("cnn")
    monkeypatch.setattr(stablehlo, "encode", lambda network: content)
    monkeypatch.delattr(export, "deserialize")
    hostile = [b"", b"\0", b"lockstep_jax_", content[:-1], content + b"\0", b"\xff" * 5000]
    hostile += [content[:length] for length in range(0, len(content), 997)]
    for bit in range(0, 8 * len(content), 61):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        hostile.append(bytes(damaged))
    assert len(hostile) > 2000
    for one in hostile:
        sentence = stablehlo.differences(one, network)
        assert sentence.startswith("`"), sentence
        assert sentence.endswith("."), sentence
    assert stablehlo.differences(content, network) is None


def test_a_file_of_another_jax_says_so(made):
    network, content = made("cnn")
    version = jax.__version__.replace(".", "_").encode()
    other = content.replace(b"jax_" + version, b"jax_" + b"9_9_1_1"[: len(version)])
    assert other != content
    assert re.search(
        r"was written by jax 9\.9\S* with jaxlib \S+ and cannot be compared with what jax "
        + re.escape(jax.__version__),
        stablehlo.differences(other, network),
    )
