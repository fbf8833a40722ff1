"""Golden vectors say what the network does, to any reader, and any change is found."""

import dataclasses
import io
import itertools
import json
import tracemalloc
from fractions import Fraction

import integers
import numpy as np
import pytest

from configs.errors import InputError
from configs.network import Conv, Dense, Network
from configs.program import Concat, Slice
from quant import files as stored_files
from quant import golden, normative


def made(name="cnn", images=2, **kwargs):
    network = integers.filled(integers.spec(name), **kwargs)
    pixels = integers.images(network.network, images)
    return network, pixels, golden.write(network, pixels, labels=range(images))


def parsed(text: str, bits: int, signed: bool) -> list[int]:
    """What a reader of `$readmemh` files does: drop comments, read hexadecimal words."""
    values = []
    for line in text.splitlines():
        for word in line.partition("//")[0].split():
            assert len(word) == bits // 4
            value = int(word, 16)
            negative = signed and value >> (bits - 1)
            values.append(value - (1 << bits) if negative else value)
    return values


def from_mem(
    files, layer: str, image: int | None
) -> dict[str, tuple[list[int], list[int]]]:
    """Values and shape of every array of a layer and an image, from the text alone."""
    held = {}
    for entry in json.loads(files["golden/index.json"])["files"]:
        mine = entry["layer"] == layer and entry["image"] in (None, image)
        if mine and entry["path"].endswith(".mem"):
            text = files[f"golden/{entry['path']}"].decode("ascii")
            values = parsed(text, entry["bits"], entry["signed"])
            held[entry["tensor"]] = values, entry["shape"]
    return held


def requantised(total: int, multiplier: int, low: int, high: int) -> int:
    """Python's own round is half to even."""
    return min(max(round(Fraction(total * multiplier, 1 << 16)), low), high)


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("name", ["cnn", "edge"])
def test_a_layer_follows_from_the_text_files_alone(name, image):
    """Convolution without padding of `cnn`, dense layers, and the table of `edge`."""
    _, _, files = made(name)
    layer = {"cnn": "conv1", "edge": "conv2"}[name]
    held = from_mem(files, layer, image)
    (x, (h, w, c)), (weights, (r, s, _, f)) = held["input"], held["weights"]
    p_count, q_count, _ = held["output"][1]
    stride, pads = {"cnn": (1, (0, 0)), "edge": (2, (0, 0))}[name]
    if name == "edge":
        pads = tuple(
            max((n - 1) * 2 + 3 - size, 0) // 2 for n, size in ((p_count, h), (q_count, w))
        )
    products, sums, outputs, codes = [], [], [], []
    for p, q, k in itertools.product(range(p_count), range(q_count), range(f)):
        total = 0
        for i, j, m in itertools.product(range(r), range(s), range(c)):
            y, z = p * stride + i - pads[0], q * stride + j - pads[1]
            if 0 <= y < h and 0 <= z < w:
                total += x[(y * w + z) * c + m] * weights[((i * s + j) * c + m) * f + k]
        products.append(total)
        sums.append(total + held["bias"][0][k])
        low, high = (-128, 127) if "table" in held else (0, 255)
        codes.append(requantised(sums[-1], held["multiplier"][0][k], low, high))
        table = held["table"][0] if "table" in held else None
        outputs.append(table[codes[-1] + 128] if table else codes[-1])
    assert held["products"][0] == products
    assert held["sums"][0] == sums
    assert held["requantised"][0] == codes
    assert held["output"][0] == outputs
    assert len(set(outputs)) > 10, "or a constant would pass too"


@pytest.mark.parametrize("name", integers.SPECS)
def test_both_formats_hold_every_array_of_the_normative_arithmetic(name):
    network, pixels, files = made(name, weight_bits=5, activation_bits=6)
    index = json.loads(files["golden/index.json"])
    assert index["labels"] == [0, 1]
    assert {f"golden/{e['path']}" for e in index["files"]} == files.keys() - {golden.INDEX}
    stems = set()
    for step in normative.steps(network, pixels):
        layer = step.layer.name
        if step.layer.step.find((Slice, Concat)):
            mine = [e for e in index["files"] if e["layer"] == layer]
            assert all(e["image"] is None for e in mine), "it makes no number"
            continue
        several = len(step.inputs) > 1
        expected = {
            f"input{i if several else ''}": array for i, array in enumerate(step.inputs)
        }
        expected["output"] = step.output
        if step.layer.weighted:
            expected |= {
                name: getattr(step, name) for name in ("products", "sums", "requantised")
            }
        for image in (0, 1):
            numbers, owner = step.layer.numbers, step.layer.owner
            own = numbers.tensors() if numbers else {}
            held = from_mem(files, layer, image)
            held = {tensor: held[tensor] for tensor in expected}
            held |= from_mem(files, owner, None) if owner else {}
            everything = own | {name: batch[image] for name, batch in expected.items()}
            assert held.keys() == everything.keys()
            for tensor, array in everything.items():
                stem = f"{owner}.{tensor}"
                stem = stem if tensor in own else f"image{image}.{layer}.{tensor}"
                data = np.load(io.BytesIO(files[f"golden/{stem}.npy"]), allow_pickle=False)
                assert np.array_equal(data, array)
                assert data.dtype.str in ("|i1", "|u1", "<i2", "<i4")
                assert held[tensor] == (array.ravel().tolist(), list(array.shape))
                stems.add(stem)
    assert len(stems) == len(index["files"]) / 2 > 20


def test_what_steps_share_stands_there_once():
    """Weights and tables of a recurrence, under their owner's name; 16 bits keep all."""
    _, _, files = made("lstm")
    index = json.loads(files["golden/index.json"])["files"]
    own = [e for e in index if e["image"] is None and e["path"].endswith(".npy")]
    names = [f"{e['layer']}.{e['tensor']}" for e in own]
    assert len(set(names)) == len(names)
    assert {"lstm1.weights", "lstm1.i.table", "lstm2.squashed.table"} <= set(names)
    cells = [e for e in index if e["path"].startswith("image1.lstm1.t3.cell_out.output")]
    assert [(e["bits"], e["signed"]) for e in cells] == [(16, True)] * 2
    text = files["golden/image1.lstm1.t3.cell_out.output.mem"].decode()
    assert text.splitlines()[0].endswith("16-bit two's complement")
    assert all(len(line) == 4 for line in text.splitlines()[1:])
    assert max(map(abs, parsed(text, 16, True))) > 255, "or a byte would do"


@pytest.mark.parametrize("name", ["lstm", "cells", "branches"])
def test_a_program_takes_and_verifies_them(name, tmp_path):
    network, pixels, files = made(name)
    assert golden.differences(files, network) is None
    held = np.load(io.BytesIO(files[golden.image_name(network, 1)]), allow_pickle=False)
    np.testing.assert_array_equal(held, pixels[1])


def test_the_first_line_says_what_follows():
    _, _, files = made()
    head = files["golden/conv1.weights.mem"].split(b"\n")[0].decode()
    assert head == (
        "// conv1 weights, shape R=3 S=3 C=2 F=4, row-major, 8-bit two's complement"
    )


def test_equal_networks_have_equal_files():
    assert made()[2] == made()[2]
    assert made()[2] != made(seed=1)[2]


def test_the_order_in_memory_makes_no_difference():
    network, pixels, files = made()
    w = network.weighted["conv1"]
    swapped = dataclasses.replace(w, weights=np.asfortranarray(w.weights))
    assert not swapped.weights.flags.c_contiguous
    swapped = dataclasses.replace(network, weighted={**network.weighted, "conv1": swapped})
    assert golden.write(swapped, np.asfortranarray(pixels), labels=range(2)) == files


def test_a_quantised_folder_takes_and_verifies_them(tmp_path):
    network, _, files = made()
    stored_files.save(network, tmp_path, source={}, files=files)
    stored = stored_files.load(tmp_path)
    assert stored_files.verify_files(tmp_path, stored.manifest) == []
    assert golden.differences(tmp_path, stored.network) is None
    assert golden.differences(files, stored.network) is None
    other = integers.filled(integers.spec("cnn"), seed=1)
    assert "conv1.weights" in golden.differences(tmp_path, other)


def test_no_images_make_no_files(tmp_path):
    network, pixels, _ = made()
    assert golden.write(network, pixels[:0]) == {}
    assert golden.differences({}, network) is None
    assert golden.differences(tmp_path, network) is None


def test_every_changed_file_is_named():
    """One bit in the middle of each file, and each file missing or too much."""
    network, _, files = made("edge")
    for name, content in files.items():
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        sentence = golden.differences(files | {name: bytes(damaged)}, network)
        assert sentence, name
        rest = {other: held for other, held in files.items() if other != name}
        assert golden.differences(rest, network), name
        assert golden.differences(files | {name: content[:-1]}, network), name
    assert "is not expected" in golden.differences(files | {"golden/x": b""}, network)
    assert len(files) > 50


def test_the_first_value_that_differs_is_named():
    network, _, files = made()
    name = "golden/image1.dense1.sums.npy"
    content = bytearray(files[name])
    value = int.from_bytes(content[-4:], "little", signed=True)
    content[-4] ^= 1
    assert golden.differences(files | {name: bytes(content)}, network) == (
        f"`dense1.sums` of image 1 at index 7 is {value ^ 1}, not {value} ({name})."
    )
    name = "golden/conv1.bias.mem"
    lines = files[name].split(b"\n")
    lines[2] = b"00000000"
    assert golden.differences(files | {name: b"\n".join(lines)}, network) == (
        f"`conv1.bias` differs in line 3 of {name}."
    )


@pytest.mark.parametrize(
    "index",
    [
        b"", b"[]", b"{}", b'{"images": true}', b'{"images": 0}', b'{"images": -1}',
        b'{"images": 1000000000000}', b'{"images": 1, "labels": ["x"]}',
        b'{"images": 2, "labels": [1]}', b'{"images": NaN}', b'{"images": 3}',
        b" " * (5 << 20), b"\xff", b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_hostile_index_gives_a_sentence(index):
    network, _, files = made()
    tracemalloc.start()
    try:
        assert golden.differences(files | {golden.INDEX: index}, network)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_hostile_folders_give_a_sentence(tmp_path):
    network, _, files = made()
    stored_files.save(network, tmp_path, source={}, files=files)
    target = tmp_path / golden.FOLDER / "conv1.bias.npy"
    with open(target, "wb") as file:
        file.truncate(1 << 40)
    assert "size" in golden.differences(tmp_path, network)
    target.unlink()
    target.symlink_to("/dev/zero")
    assert "regular file" in golden.differences(tmp_path, network)
    assert "cannot be read" in golden.differences(target, network)


def test_more_images_than_fit_are_refused_before_any_work():
    network = Network(
        input_shape=(64, 64, 3),
        layers=(Conv(features=64, padding="zero"), Conv(features=4, padding="zero")),
    )
    network = integers.filled(network)
    with pytest.raises(
        InputError, match=r"`--golden-images` \(=9\) must be at most \d"
    ) as e:
        golden.write(network, integers.images(network.network, 9))
    most = int(str(e.value).rpartition(" ")[2].rstrip("."))
    assert 1 <= most < 9
    sizes = [
        len(content)
        for content in golden.write(
            network, integers.images(network.network, most)
        ).values()
    ]
    assert golden.LIMIT_BYTES / 3 < sum(sizes) <= golden.LIMIT_BYTES


def test_a_network_that_never_fits_says_so(monkeypatch):
    monkeypatch.setattr(golden, "LIMIT_BYTES", 1000)
    network = integers.filled(
        Network(input_shape=(4,), layers=(Dense(features=2, activation="identity"),))
    )
    with pytest.raises(InputError, match="use --golden-images 0"):
        golden.write(network, integers.images(network.network, 1))


def test_the_sums_are_those_of_this_network(monkeypatch):
    """A fault planted in one bias appears in the sums and not before."""
    network, pixels, files = made()
    w = network.weighted["conv2"]
    weighted = {**network.weighted, "conv2": dataclasses.replace(w, bias=w.bias + 1)}
    other = golden.write(dataclasses.replace(network, weighted=weighted), pixels, [0, 1])
    changed = {name for name in files if files[name] != other[name]}
    assert "golden/image0.conv2.sums.mem" in changed
    assert not any(".products." in name and ".conv2." in name for name in changed)
    assert not any(".conv1." in name for name in changed)
