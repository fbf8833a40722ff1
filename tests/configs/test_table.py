"""The layer table holds every count at every width."""

import json
import re

import pytest

from configs import registry, stored, table
from configs.network import (
    Conv,
    Dense,
    Flatten,
    GlobalPool,
    LstmCell,
    Network,
    Pool,
    Residual,
)
from configs.registry import Entry

NAMES = registry.known_names()


@pytest.mark.parametrize("columns", [None, 1, 40, 80, 100, 200])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_at_any_width(name, columns, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    entry = registry.load(name)
    table.print_network(entry)
    printed = capsys.readouterr().out
    assert "…" not in printed
    words = set(printed.split())
    for info in entry.network.leaves():
        assert info.name in words
        assert set(info.spec.brief().split()) <= words
        assert "x".join(map(str, info.output_shape)) in words
        counts = [info.activations]
        if info.weights:
            counts += [info.weights, info.parameters, info.macs, info.reuse]
        assert {f"{count:,}" for count in counts} <= words
    for total in ("activations", "weights", "parameters", "macs"):
        assert f"{getattr(entry.network, total):,}" in words


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_columns_suffice(name, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    table.print_network(registry.load(name))
    table.print_overview([registry.load(name)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_a_wide_terminal_gets_one_table_and_a_narrow_one_two(capsys, monkeypatch):
    heads = []
    for columns in ("80", "100", "130"):
        monkeypatch.setenv("COLUMNS", columns)
        table.print_network(registry.load("mnist_cnn"))
        lines = capsys.readouterr().out.splitlines()
        heads.append([line.split() for line in lines if line.startswith("layer")])
    narrow, medium, wide = heads
    assert [len(narrow), len(medium), len(wide)] == [2, 1, 1]
    assert wide[0][1:4] == ["output", "elements", "as"]
    assert medium[0][1:4] == ["output", "elements", "weights"]


def test_dense_layers_hold_the_weights_and_convolutions_do_the_work(capsys):
    table.print_network(registry.load("vgg16"))
    sentence = "Dense layers hold 89.4 % of the weights and do 0.8 % of the MACs."
    assert sentence in capsys.readouterr().out
    table.print_network(registry.load("mnist_mlp"))
    assert "Dense layers hold" not in capsys.readouterr().out


@pytest.mark.parametrize("name", registry.experiment_names())
def test_every_setting_is_shown(name, capsys):
    entry = registry.load(name)
    table.print_network(entry)
    words = capsys.readouterr().out.split()
    settings = stored.to_dict(entry.experiment)
    for section in ("data", "augment", "optimizer", "train"):
        assert section in words
        for field in settings[section]:
            assert any(word.startswith(f"{field}=") for word in words)
    assert f"epochs={entry.experiment.train.epochs}" in words
    assert f"name={name}" in words


def test_the_overview_names_everything_at_every_width(capsys, monkeypatch):
    entries = [registry.load(name) for name in NAMES]
    for columns in ("20", "80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        table.print_overview(entries)
        printed = capsys.readouterr().out
        assert {*NAMES, "224x224x3", "fashion_mnist"} <= set(printed.split())
        assert "138.4 M   15.5 G" in printed


def test_the_overview_puts_experiments_before_networks(capsys, monkeypatch):
    # So wide that no description wraps.
    monkeypatch.setenv("COLUMNS", "200")
    table.print_overview([registry.load(name) for name in NAMES])
    lines = capsys.readouterr().out.splitlines()[2:]
    listed = [line.split()[0] if line.strip() else "" for line in lines]
    trained = registry.experiment_names()
    networks = [name for name in NAMES if name not in trained]
    assert listed == [*trained, "", *networks]


def test_blocks_are_taken_apart():
    """The rows of a residual network are its innermost layers, and add up to it."""
    network = registry.load_network("resnet18")
    data = table.network_data(registry.load("resnet18"))
    names = [layer["name"] for layer in data["layers"]]
    assert names[2:4] == ["residual1.conv1", "residual1.conv2"]
    assert "residual3.shortcut.conv1" in names
    assert names == [info.name for info in network.leaves()]
    for count in ("weights", "parameters", "macs"):
        assert sum(row[count] for row in data["layers"]) == data["totals"][count]
    activations = sum(layer["activations"] for layer in data["layers"])
    assert 224 * 224 * 3 + activations == data["totals"]["activations"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18", "additions are not counted"),
        ("tpu_lstm0", "is one time step"),
        ("mnist_p4cnn", "deployed as ordinary layers there are 52,128, 50.9 KiB as int8"),
    ],
)
def test_what_is_not_counted_is_said(name, words, capsys):
    table.print_network(registry.load(name))
    assert words in " ".join(capsys.readouterr().out.split())
    table.print_network(registry.load("mnist_cnn"))
    assert words not in " ".join(capsys.readouterr().out.split())


def test_text_of_a_user_is_printed_as_it_is(capsys):
    network = Network(input_shape=(4, 4, 1), layers=(Flatten(),))
    entry = Entry(name="[bold]x[/bold]", what=":smile:", network=network)
    table.print_network(entry)
    table.print_overview([entry])
    printed = capsys.readouterr().out
    assert printed.count("[bold]x[/bold]") == 2
    assert printed.count(":smile:") == 2


def test_json_holds_the_same_counts():
    entry = registry.load("vgg16")
    data = json.loads(stored.canonical(table.network_data(entry)))
    assert data["totals"]["parameters"] == data["parameters"] == 138_357_544
    assert data["totals"]["macs"] == sum(layer["macs"] for layer in data["layers"])
    assert sum(layer["mac_share"] for layer in data["layers"]) == pytest.approx(1)
    assert sum(layer["weight_share"] for layer in data["layers"]) == pytest.approx(1)
    assert data["layers"][0]["activation_bytes"] == {"int8": 3211264, "float32": 12845056}
    assert data["layers"][0]["spec"]["layer"] == "Conv"
    assert data["experiment"] is None
    data = table.network_data(registry.load("mnist_cnn"))
    assert stored.from_dict(data["experiment"]) == registry.load_experiment("mnist_cnn")


def test_a_network_without_weights_has_no_shares():
    network = Network(input_shape=(4, 4, 1), layers=(Flatten(),))
    data = table.network_data(Entry(name="x", what="", network=network))
    assert data["layers"][0]["weight_share"] == data["layers"][0]["mac_share"] == 0


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (Conv(features=8), "3x3 valid relu"),
        (Conv(features=8, kernel=(1, 5), stride=(2, 2)), "1x5/2 valid relu"),
        (Conv(features=8, stride=(2, 1), padding="edge"), "3x3/2x1 edge relu"),
        (Dense(features=8, activation="tanh"), "tanh"),
        (Pool(), "2x2 max"),
        (Pool(kind="mean", window=(3, 3)), "3x3/2 mean"),
        (Conv(features=8, groups=4), "3x3 valid relu 4 groups"),
        (Conv(features=8, symmetry="lift"), "3x3 valid relu lift"),
        (Dense(features=8, symmetry="p4"), "relu p4"),
        (Pool(window=(3, 3), padding="zero"), "3x3/2 zero max"),
        (GlobalPool(), "mean"),
        (LstmCell(features=3), "joined gates"),
        (LstmCell(features=3, gates="separate"), "separate gates"),
        (Residual(body=(Conv(features=8),), activation="tanh"), "sum tanh"),
        (Flatten(), ""),
    ],
)
def test_a_layer_in_a_few_letters(spec, text):
    assert spec.brief() == text


def test_units():
    sizes = [0, 1023, 1024, 2**20, 1536 * 2**20]
    assert [table._bytes(size) for size in sizes] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.0 MiB",
        "1.5 GiB",
    ]
    counts = [0, 999, 1000, 138_357_544, 15_470_264_320]
    shown = [table._thousands(count) for count in counts]
    assert shown == ["0", "999", "1.0 k", "138.4 M", "15.5 G"]
    assert all(re.fullmatch(r"[\d.,]+( [kMG])?", text) for text in shown)
