"""The cost of a network: published figures of VGG-16, sums that add up, JSON."""

import json

import pytest

from accel.cost import cost as costs
from accel.cost.cost import cost
from accel.cost.machines import find
from accel.cost.mapping import Mapping
from accel.cost.presets import PRESETS
from accel.cost.summary import amount, print_cost
from accel.cost.walk import Places, walk
from accel.cost.works import works
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.registry import load_network

PRESET = PRESETS["horowitz_45nm"]
SMALL = Network(
    input_shape=(12, 12, 3),
    layers=(
        Conv(features=8),
        Pool(),
        Conv(features=8, padding="zero", groups=2),
        Flatten(),
        Dense(features=10),
    ),
)


def test_vgg16_on_the_tpu_as_derived_by_hand() -> None:
    """138 M weights at 34 GB/s take 4.07 ms, the MACs of an image 0.337 ms at the peak,
    which balances at batch 12; batch 1 cannot be faster than its weights."""
    found = cost(works(load_network("vgg16")), find("tpu_v1"), PRESET)
    roof = found["roofline"]
    assert round(roof["weights_ms"], 2) == 4.07
    assert round(roof["macs_ms_per_image"], 3) == 0.337
    assert round(roof["balance_batch"], 2) == 12.07
    assert found["macs"] == 15_470_264_320
    assert found["traffic"]["dram"]["weights"] >= roof["weight_bytes"] == 138_344_128
    assert found["latency_ms"] > roof["weights_ms"]
    assert found["layers"][-1]["bound"] == "memory"


@pytest.mark.parametrize("mapping", ["mapper", "fixed"])
def test_layers_are_walked_and_add_up(mapping: str) -> None:
    """Each layer equals the walk with its mapping; the totals are sums of the layers."""
    layers, chip = works(SMALL, 3), find("small_16x16")
    found = cost(layers, chip, PRESET, mapping=mapping)
    for work, row in zip(layers, found["layers"], strict=True):
        blocks, places = Mapping(**row["mapping"]), Places(**row["kept"])
        got = walk(chip.machine, work, chip.memory, blocks, places)
        assert (row["cycles"], row["dram_bytes"]) == (got.cycles, got.dram)
        assert row["stall_cycles"] == got.stall
        assert row["traffic"]["buffer"]["inputs"] == got.counters.input_fetches
        assert row["macs"] == work.macs
    for name in ("cycles", "macs", "dram_bytes", "buffer_bytes", "stall_cycles"):
        assert found[name] == sum(row[name] for row in found["layers"])
    spent = [row["energy"]["total"] for row in found["layers"]]
    assert found["energy"]["total"] == sum(spent) > 0
    assert sum(found["energy"]["by_level"].values()) == found["energy"]["total"]
    assert found["images_per_s"] == pytest.approx(3 / (found["latency_ms"] / 1e3))
    assert json.loads(json.dumps(found)) == found


def test_kept_maps_cost_no_dram() -> None:
    """Between the layers nothing moves; the input and the output of the network do."""
    found = cost(works(SMALL), find("small_16x16"), PRESET)
    moves = [row["traffic"]["dram"] for row in found["layers"]]
    assert [bool(move["inputs"]) for move in moves] == [True, False, False]
    assert [bool(move["outputs"]) for move in moves] == [False, False, True]


def test_the_mapper_is_never_slower_than_the_rule() -> None:
    """Whose mappings it tries too, its blocks being multiples of the array's columns."""
    layers, chip = works(SMALL, 3), find("gemmini_16x16")
    best, rule = (cost(layers, chip, PRESET, mapping=how) for how in ("mapper", "fixed"))
    for one, other in zip(best["layers"], rule["layers"], strict=True):
        assert one["cycles"] <= other["cycles"]


def test_an_objective_is_heeded() -> None:
    """By energy no layer takes more energy than by cycles."""
    layers, chip = works(SMALL, 3), find("small_16x16")
    by = {name: cost(layers, chip, PRESET, objective=name) for name in ("cycles", "energy")}
    for fast, frugal in zip(*(found["layers"] for found in by.values()), strict=True):
        assert frugal["energy"]["total"] <= fast["energy"]["total"]
        assert fast["cycles"] <= frugal["cycles"]


@pytest.mark.parametrize(
    ("layers", "fields", "named"),
    [([], {}, "layers"), (works(SMALL), {"mapping": "best"}, "mapping"),
     (works(SMALL), {"objective": "area"}, "objective")],
)  # fmt: skip
def test_bad_choices_are_refused(layers, fields, named) -> None:
    """By name."""
    with pytest.raises(InputError, match=f"`{named}`"):
        cost(layers, find("small_16x16"), PRESET, **fields)


def test_it_prints(capsys) -> None:
    """The figures, a line a layer, the reasons, what is assumed and not counted."""
    found = cost(works(SMALL, 3), find("small_16x16"), PRESET)
    print_cost(found)
    shown = capsys.readouterr().out
    assert f"{found['cycles']:,} cycles" in shown
    for row in found["layers"]:
        assert f"{row['cycles']:,}" in shown
        assert row["why"] in shown
    for line in costs.NOT_COUNTED:
        assert line[1:] in shown
    assert "640 pJ from DRAM and 5 pJ" in shown


def test_energies_as_people_say_them() -> None:
    """Relative presets have no larger units."""
    assert amount(2_500_000, "fJ") == "2.5 nJ"
    assert amount(3 * 10**15, "fJ") == "3 J"
    assert amount(1234, "thousandths") == "1,234 thousandths"
