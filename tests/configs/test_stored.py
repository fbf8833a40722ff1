"""config.json gives back the same experiment, or says which field is wrong."""

import copy
import dataclasses
import hashlib
import json

import pytest

from configs import registry, stored
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, LstmCell, Network, Pool, Residual
from configs.schema import Augment


@pytest.fixture
def tree():
    return stored.to_dict(registry.load_experiment("mnist_cnn"))


@pytest.mark.parametrize("name", registry.experiment_names())
def test_every_experiment_survives_json(name):
    experiment = registry.load_experiment(name)
    text = stored.canonical(stored.to_dict(experiment))
    again = stored.from_dict(json.loads(text))
    assert again == experiment
    assert stored.canonical(stored.to_dict(again)) == text
    assert stored.sha256(again) == stored.sha256(experiment)


def test_equal_experiments_have_equal_hashes():
    """2 pixels and 2.0 pixels are the same shift."""
    base = registry.load_experiment("mnist_cnn")
    whole, real = (dataclasses.replace(base, augment=Augment(shift_px=p)) for p in (2, 2.0))
    assert stored.sha256(whole) == stored.sha256(real)
    assert not stored.differences(whole, real)


def test_every_setting_changes_the_hash():
    base = registry.load_experiment("mnist_cnn")
    changed = [
        dataclasses.replace(base, seed=1),
        dataclasses.replace(base, train=dataclasses.replace(base.train, epochs=29)),
        registry.load_experiment("mnist_cnn_fast"),
    ]
    assert len({stored.sha256(one) for one in (base, *changed)}) == 4


def change(tree, path, value):
    """A copy with the value at a path of keys and indices replaced."""
    tree = copy.deepcopy(tree)
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ["train", "epochs"],
            "3",
            r"`config.json.train` cannot be used: `epochs` \(='3'\)",
        ),
        (["train", "epochs"], -1, r"`config.json.train` cannot be used: `epochs` \(=-1\)"),
        (["train", "epochs"], {}, r"`config.json.train` cannot be used: `epochs` \(={}\)"),
        (["augment", "shift_px"], float("nan"), r"config.json.augment` .* `shift_px`"),
        (
            ["train", "epoch"],
            3,
            r"`config.json.train.epoch` \(=3\) must be a field of Train",
        ),
        (["surprise"], None, r"`config.json.surprise` \(=None\) must be a field of Exper"),
        (["train"], 3, r"`config.json` cannot be used: `train` \(=3\) of Experiment must"),
        (["train"], [], r"`config.json` cannot be used: `train` \(=\[\]\) of Experiment"),
        (["name"], {"a": 1}, r"`config.json` cannot be used: `name` \(={'a': 1}\)"),
        (
            ["network", "layers", 0, "layer"],
            "Attention",
            r"`config.json.network.layers\[0\].layer` \(='Attention'\) must be one of Conv",
        ),
        (
            ["network", "layers", 0, "layer"],
            [],
            r"layers\[0\].layer` \(=\[\]\) must be one",
        ),
        (
            ["network", "layers", 0, "kernel"],
            [3],
            r"`config.json.network.layers\[0\]` cannot be used: `kernel` \(=\(3,\)\)",
        ),
        (
            ["network", "layers", 0, "kernel"],
            [3, [3]],
            r"layers\[0\]` cannot be used: `kernel\[1\]` \(=\[3\]\) of Conv",
        ),
        (
            ["network", "layers", 0],
            3,
            r"json.network` cannot be used: `layers\[0\]` \(=3\)",
        ),
        (
            ["network", "layers", 1],
            {"layer": "Flatten"},
            r"`config.json.network` cannot be used: `layers\[2\]` \(conv2\): Conv takes",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_path(tree, path, value, message):
    with pytest.raises(InputError, match=message):
        stored.from_dict(change(tree, path, value))


def test_every_missing_field_is_named_with_its_path(tree):
    def missing(node, where):
        for key in [key for key in node if key != "layer"]:
            held = node.pop(key)
            with pytest.raises(InputError, match="` is missing; the file") as refused:
                stored.from_dict(tree)
            assert f"`{where}.{key}`" in str(refused.value)
            node[key] = held
            if isinstance(held, dict):
                missing(held, f"{where}.{key}")

    missing(tree, "config.json")
    missing(tree["network"]["layers"][0], "config.json.network.layers[0]")


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_is_refused(value):
    with pytest.raises(InputError, match=r"`here` \(=.*\) must be an object with the"):
        stored.from_dict(value, where="here")


def test_differences_name_each_field():
    a, b = map(registry.load_experiment, ("mnist_cnn", "mnist_cnn_fast"))
    assert stored.differences(a, a) == []
    assert stored.differences(a, b) == [
        "`augment.rotate_deg`: 10.0 -> 0.0",
        "`augment.shift_px`: 2.0 -> 1.0",
        '`name`: "mnist_cnn" -> "mnist_cnn_fast"',
        "`train.epochs`: 60 -> 6",
    ]


def test_differences_find_the_layer():
    a = registry.load_experiment("mnist_cnn")
    layers = list(a.network.layers)
    layers[5] = dataclasses.replace(layers[5], features=32)
    network = dataclasses.replace(a.network, layers=tuple(layers))
    b = dataclasses.replace(a, network=network)
    assert stored.differences(a, b) == ["`network.layers[5].features`: 64 -> 32"]
    shorter = dataclasses.replace(a.network, layers=a.network.layers[:-1])
    [line] = stored.differences(a, dataclasses.replace(a, network=shorter))
    assert line.startswith("`network.layers`: [{")


def test_a_network_alone_survives_json():
    network = registry.load_experiment("mnist_cnn").network
    tree = json.loads(stored.canonical(stored.to_dict(network)))
    assert stored.network_from_dict(tree) == network


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["input_shape"], [28, 28], r"`here` cannot be used: `input_shape`"),
        (["layers", 0, "features"], True, r"`here.layers\[0\]` cannot be used: `features`"),
        (["layers", 1], {"layer": "Flatten"}, r"`here` cannot be used: `layers\[2\]`"),
        (["name"], "x", r"`here.name` \(='x'\) must be a field of Network"),
    ],
)
def test_a_wrong_field_of_a_network_is_named(tree, path, value, message):
    with pytest.raises(InputError, match=message):
        stored.network_from_dict(change(tree["network"], path, value), "here")


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_network_is_refused(value):
    with pytest.raises(InputError, match=r"`here` \(=.*\) must be an object with the"):
        stored.network_from_dict(value, where="here")


# --- Layers and fields that came after run directories had been written. ---

BLOCK = Residual(
    body=(
        Conv(features=4, padding="zero", groups=2),
        Residual(body=(Pool(window=(3, 3), stride=(1, 1), padding="zero"),)),
    ),
    shortcut=(Conv(features=4, kernel=(1, 1), activation="identity"),),
)
NESTED = Network(
    input_shape=(6, 6, 2),
    layers=(BLOCK, Flatten(), LstmCell(features=3, gates="separate"), LstmCell(features=2)),
)


def test_layers_at_their_defaults_are_stored_as_they_always_were():
    """The very text, so that hashes in old run directories stay right."""
    texts = [stored.canonical(stored.to_dict(spec)) for spec in (Conv(features=8), Pool())]
    assert texts == [
        '{"activation": "relu", "features": 8, "kernel": [3, 3], "layer": "Conv", '
        '"padding": "valid", "stride": [1, 1]}',
        '{"kind": "max", "layer": "Pool", "stride": [2, 2], "window": [2, 2]}',
    ]


def test_the_hash_of_an_old_experiment_is_the_old_one():
    network = Network(
        input_shape=(4, 4, 1),
        layers=(Conv(features=2), Pool(), Flatten(), Dense(features=2)),
    )
    text = stored.canonical(stored.to_dict(network))
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "c497d0f5f943cc4ece27b895f6777bae6bd0b0a281e78f097c856d31beb4b68e"
    )


def test_nested_layers_survive_json():
    text = stored.canonical(stored.to_dict(NESTED))
    again = stored.network_from_dict(json.loads(text))
    assert again == NESTED
    assert stored.canonical(stored.to_dict(again)) == text
    body = json.loads(text)["layers"][0]["body"]
    assert (body[0]["groups"], body[1]["body"][0]["padding"]) == (2, "zero")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["body", 0, "groups"], 3, r"`here.layers\[0\].body\[0\]` cannot be .* `groups`"),
        (["body", 0, "groups"], "2", r"`here.layers\[0\].body\[0\]` cannot be .* `groups`"),
        (["body", 0, "group"], 2, r"`here.layers\[0\].body\[0\].group` \(=2\) must be a"),
        (["body", 1, "layer"], "x", r"`here.layers\[0\].body\[1\].layer` \(='x'\) must"),
        (["shortcut"], [], r"`here` cannot be used: `layers\[0\]` \(residual1\): Residual"),
        (["body"], [], r"`here.layers\[0\]` cannot be used: `body` .* must not be empty"),
        (["body"], 3, r"`here.layers\[0\]` cannot be used: `body` \(=3\) of Residual"),
    ],
)
def test_a_wrong_field_of_a_nested_layer_is_named(path, value, message):
    tree = stored.to_dict(NESTED)
    with pytest.raises(InputError, match=message):
        stored.network_from_dict(change(tree, ["layers", 0, *path], value), "here")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (["layers", 0], ["body", "shortcut", "activation"]),
        (["layers", 0, "body", 0], ["features", "kernel", "stride", "padding"]),
        (["layers", 0, "body", 1, "body", 0], ["kind", "window", "stride"]),
        (["layers", 2], ["features", "gates"]),
    ],
)
def test_only_fields_that_came_later_may_be_absent(path, fields):
    for field in fields:
        tree = stored.to_dict(NESTED)
        node = tree
        for key in path:
            node = node[key]
        del node[field]
        with pytest.raises(InputError, match=rf"\.{field}` is missing"):
            stored.network_from_dict(tree)


def test_a_setting_that_came_later_changes_the_hash():
    base = registry.load_experiment("mnist_cnn")
    first, pool, *others = base.network.layers
    hashes = {stored.sha256(base)}
    for layers in (
        (dataclasses.replace(first, groups=1), pool),
        (first, dataclasses.replace(pool, padding="zero")),
        (first, Residual(body=(Conv(features=16, padding="zero", groups=4),)), pool),
    ):
        network = dataclasses.replace(base.network, layers=(*layers, *others))
        hashes.add(stored.sha256(dataclasses.replace(base, network=network)))
    assert len(hashes) == 3, "groups=1 is the same network"


def test_symmetries_and_turned_data_survive_json_and_change_the_hash():
    """Left out where there are none, so that older files and hashes stay as they are."""
    experiment = registry.load_experiment("mnist_p4cnn")
    tree = json.loads(stored.canonical(stored.to_dict(experiment)))
    assert [layer.get("symmetry") for layer in tree["network"]["layers"]] == [
        "lift", None, "p4", None, "p4", "p4", None, "p4",
    ]  # fmt: skip
    assert tree["data"]["rotated"] is True
    assert stored.from_dict(tree) == experiment
    plain = dataclasses.replace(experiment, network=experiment.network.lowered())
    upright = dataclasses.replace(
        experiment, data=dataclasses.replace(experiment.data, rotated=False)
    )
    assert len({stored.sha256(each) for each in (experiment, plain, upright)}) == 3
    assert "symmetry" not in stored.canonical(stored.to_dict(plain))
    assert "rotated" not in stored.canonical(stored.to_dict(upright))


def test_layers_nested_beyond_reason_are_refused():
    tree = {"layer": "Flatten"}
    for _ in range(3000):
        tree = {"layer": "Residual", "body": [tree], "shortcut": [], "activation": "relu"}
    with pytest.raises(InputError, match=r"`here` nests layers too deeply"):
        stored.network_from_dict({"input_shape": [4], "layers": [tree]}, "here")
