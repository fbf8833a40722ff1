"""The cost of a network: published figures of VGG-16, sums that add up, JSON."""

import json

import pytest

from accel.cli.print_cost import amount, print_cost
from accel.cost import cost as costs
from accel.cost.access_counts import moved
from accel.cost.cost import cost
from accel.cost.energy import prices
from accel.cost.energy_table import with_static
from accel.cost.energy_tables import TABLES
from accel.cost.mapper import choose
from accel.cost.mapping import Mapping
from accel.cost.reference import Residency, walk
from accel.machines.chip_file import find
from accel.workload.from_network import workload
from accel.workload.layer import LayerWorkload
from accel.workload.workload import Workload
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.registry import load_network

PRESET = TABLES["horowitz_45nm"]
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
    found = cost(workload(load_network("vgg16")), find("tpu_v1"), PRESET)
    roof = found["roofline"]
    assert round(roof["weights_ms"], 2) == 4.07
    assert round(roof["macs_ms_per_image"], 3) == 0.337
    assert round(roof["balance_batch"], 2) == 12.07
    assert found["macs"] == 15_470_264_320
    assert found["traffic"]["dram"]["weights"] >= roof["weight_bytes"] == 138_344_128
    assert found["latency_ms"] > roof["weights_ms"]
    assert found["layers"][-1]["roofline_side"] == "memory"
    last = found["layers"][-1]
    # M = 1: a tile of 256 x 256 weights works one cycle of all it takes.
    assert last["bound"] == "fill and drain"
    assert sum(last["spent_on"].values()) == pytest.approx(1)


@pytest.mark.parametrize("mapping", ["mapper", "fixed"])
def test_layers_are_walked_and_add_up(mapping: str) -> None:
    """Each layer equals the walk with its mapping; the totals are sums of the layers."""
    load, chip = workload(SMALL, 3), find("small_16x16")
    found = cost(load, chip, PRESET, mapping=mapping)
    for work, row in zip(load.works, found["layers"], strict=True):
        blocks, places = Mapping(**row["mapping"]), Residency(**row["kept"])
        got = walk(chip.machine, work, chip.memory, blocks, places)
        assert (row["cycles"], row["dram_bytes"]) == (got.cycles, got.dram)
        assert row["stall_cycles"] == got.stall
        assert row["traffic"]["buffer"]["inputs"] == got.counters.input_fetches
        assert row["macs"] == work.macs
        sums = work.M * work.N * work.repeats
        all_of = moved(got.counters, got, sums=sums, held="weights")
        assert row["traffic"] == costs.table(all_of)
    for name in ("cycles", "macs", "dram_bytes", "buffer_bytes", "stall_cycles"):
        assert found[name] == sum(row[name] for row in found["layers"])
    for row in (*found["layers"], found):
        weights = row["traffic"]["dram"]["weights"]
        assert row["utilization"] == row["macs"] / (256 * row["cycles"])
        assert row["time_ms"] == pytest.approx(row["cycles"] / 700e6 * 1e3)
        assert row["macs_per_weight_byte"] == row["macs"] / weights
        assert row["macs_per_dram_byte"] == row["macs"] / row["dram_bytes"]
    assert found["energy_per_image"] == found["energy"]["total"] / 3
    spent = [row["energy"]["total"] for row in found["layers"]]
    assert found["energy"]["total"] == sum(spent) > 0
    assert sum(found["energy"]["by_level"].values()) == found["energy"]["total"]
    assert found["images_per_s"] == pytest.approx(3 / (found["latency_ms"] / 1e3))
    assert json.loads(json.dumps(found)) == found


def test_kept_maps_cost_no_dram() -> None:
    """Between the layers nothing moves; the input and the output of the network do."""
    found = cost(workload(SMALL), find("small_16x16"), PRESET)
    moves = [row["traffic"]["dram"] for row in found["layers"]]
    assert [bool(move["inputs"]) for move in moves] == [True, False, False]
    assert [bool(move["outputs"]) for move in moves] == [False, False, True]


def test_the_mapper_is_never_slower_than_the_rule() -> None:
    """Whose mappings it tries too, its blocks being multiples of the array's columns."""
    load, chip = workload(SMALL, 3), find("gemmini_16x16")
    best, rule = (
        cost(load, chip, PRESET, mapping=how, objective="cycles")
        for how in ("mapper", "fixed")
    )
    for one, other in zip(best["layers"], rule["layers"], strict=True):
        assert one["cycles"] <= other["cycles"]


def test_an_objective_is_heeded() -> None:
    """By energy no layer takes more energy than by cycles."""
    load, chip = workload(SMALL, 3), find("small_16x16")
    by = {name: cost(load, chip, PRESET, objective=name) for name in ("cycles", "energy")}
    for fast, frugal in zip(*(found["layers"] for found in by.values()), strict=True):
        assert frugal["energy"]["total"] <= fast["energy"]["total"]
        assert fast["cycles"] <= frugal["cycles"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"mapping": "best"}, "mapping"), ({"objective": "area"}, "objective")],
)
def test_bad_choices_are_refused(fields, named) -> None:
    """By name."""
    with pytest.raises(InputError, match=f"`{named}`"):
        cost(workload(SMALL), find("small_16x16"), PRESET, **fields)


def test_it_prints(capsys) -> None:
    """The figures, a line a layer, the reasons, what is assumed and not counted."""
    found = cost(workload(SMALL, 3), find("small_16x16"), PRESET)
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


@pytest.mark.parametrize("name", ["tpu_v1", "gemmini_16x16", "small_16x16"])
@pytest.mark.parametrize("preset", sorted(TABLES))
def test_energy_is_the_sum_of_its_parts(name: str, preset: str) -> None:
    """By level, by operand with MACs and static power, and line by line of the table from
    the traffic; a MAC is paid once, all static cycles are."""
    chip, power = find(name), TABLES[preset]
    if power.unit == "pJ":
        power = with_static(power, 2.5)
    found = cost(workload(SMALL, 3), chip, power)
    price = prices(power, chip.capacities, clock_mhz=chip.memory.clock_mhz)
    for row in [*found["layers"], found]:
        spent = row["energy"]
        level, operand = spent["by_level"], spent["by_operand"]
        assert sum(level.values()) == spent["total"]
        moving = spent["total"] - level["mac"] - level["static"]
        assert sum(operand.values()) == moving
        assert level["mac"] == row["macs"] * price.mac
        assert level["static"] == row["cycles"] * price.static
        assert level["dram"] == row["dram_bytes"] * price.dram
        bytes_at = {k: sum(v.values()) for k, v in row["traffic"].items()}
        assert level["register"] == bytes_at["register"] * price.register
        assert level["hop"] == bytes_at["hop"] * price.hop
        sizes = {
            one: sum(row["traffic"][place][one] for place in ("fill", "drain", "buffer"))
            for one in row["traffic"]["dram"]
        }
        assert sum(sizes.values()) == row["buffer_bytes"]
        assert level["buffer"] == sum(
            size * getattr(price, f"buffer_{one}") for one, size in sizes.items()
        )
    for part in ("by_level", "by_operand", "table"):
        for key, value in found["energy"][part].items():
            assert value == sum(row["energy"][part][key] for row in found["layers"])


def test_equal_layers_are_mapped_where_their_maps_lie() -> None:
    """Four equal layers, the last unchained: four places, each chosen for itself."""
    layers = tuple(
        LayerWorkload(
            name=f"l{i}", images=64, row_bytes=64, K=64, N=64, chained=i in (1, 2)
        )
        for i in range(4)
    )
    load = Workload(works=layers)
    chip = find("small_16x16")
    found = cost(load, chip, PRESET)
    assert len({tuple(row["kept"].values()) for row in found["layers"]}) == 4
    for work, row in zip(load.works, found["layers"], strict=True):
        got = choose(work, chip.machine, chip.memory, Residency(**row["kept"]))
        assert (row["cycles"], row["dram_bytes"]) == (
            got.totals.cycles, sum(got.totals[2:])
        )  # fmt: skip
