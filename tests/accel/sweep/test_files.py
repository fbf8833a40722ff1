"""Files, pictures, table and refinement of a finished sweep."""

import csv
import json

import pytest
from matplotlib.image import imread
from pyarrow import parquet

from accel.cli import print_sweep
from accel.sweep import files, plots, refine, run


@pytest.fixture(scope="module")
def swept(works, small_space, preset):
    return run.sweep(works[2:], small_space, preset)


def test_the_front_is_the_same_in_every_file(swept, tmp_path):
    paths = files.write(tmp_path, swept)
    assert [path.name for path in paths] == ["front.csv", "front.parquet", "sweep.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in paths)
    assert json.loads(paths[2].read_text()) == json.loads(json.dumps(swept))
    table = parquet.read_table(paths[1])
    assert table.to_pylist() == swept["front"]
    assert table.schema.metadata[b"energy_unit"] == b"fJ"
    rows = list(csv.DictReader(paths[0].read_text().splitlines()))
    wanted = [{name: str(value) for name, value in row.items()} for row in swept["front"]]
    assert rows == wanted


def test_pictures_show_something(swept, works, small_space, preset, tmp_path):
    paths = plots.draw(tmp_path / "new", swept, works[2:], small_space, preset)
    assert [path.name for path in paths] == ["front.png", "heat.png", "roofline.png"]
    for path in paths:
        assert imread(path)[..., :3].std() > 0.05


def test_a_space_of_one_design_can_be_drawn(works, small_space, preset, tmp_path):
    from dataclasses import asdict, replace

    one = {name: (axis[-1],) for name, axis in asdict(small_space).items()}
    space = replace(small_space, **one)
    found = run.sweep(works[2:], space, preset)
    assert len(found["front"]) == found["designs"] == 1
    plots.draw(tmp_path, found, works[2:], space, preset)


def test_layers_add_up_to_the_design(swept, works, small_space, preset):
    for row in swept["front"]:
        found = refine.layers(works[2:], small_space.design(row["index"]), preset)
        for name in ("cycles", "compute", "dram_bytes", "energy"):
            assert sum(getattr(layer, name) for layer in found) == row[name]


def test_the_mapper_is_never_slower_than_the_rule(swept, works, small_space, preset):
    seen, some = [], swept["front"][::9]
    found = refine.refine(
        some, works[2:], small_space, preset,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert [one["index"] for one in found] == [row["index"] for row in some]
    assert seen[-1] == (len(found), len(found))
    assert all(one["mapper"]["cycles"] <= one["rule"]["cycles"] for one in found)
    assert any(one["mapper"]["cycles"] < one["rule"]["cycles"] for one in found)


def test_names_go_by_what_the_mapper_makes_of_a_design(swept, works, small_space, preset):
    """Each of the mapped members of the front is compared, with figures that belong
    together; the rule's own stand beside them."""
    chosen = refine.spread(swept)
    assert {row["index"] for row in swept["named"].values()} <= {
        row["index"] for row in chosen
    }
    found = swept | {"refined": refine.refine(chosen, works, small_space, preset)}
    named = refine.ranked(found)
    assert named.keys() == swept["named"].keys()
    times = {one["index"]: one["mapper"]["time_us"] for one in found["refined"]}
    assert named["fastest"]["time_us"] == min(times.values())
    energies = [one["mapper"]["energy"] for one in found["refined"]]
    assert named["least energy"]["energy"] == min(energies)
    for row in named.values():
        best = refine.layers(works, small_space.design(row["index"]), preset, best=True)
        assert row["cycles"] == sum(layer.cycles for layer in best)
        assert row["area"] == small_space.design(row["index"]).area
        assert row["rule"]["cycles"] >= 0
        assert "dram_weights" not in row


def test_the_table_names_the_winners(swept, capsys):
    print_sweep.print_sweep(swept)
    text = capsys.readouterr().out
    assert "256 of 4 layers" in text
    for name, row in swept["named"].items():
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert f"{row['dataflow']} {row['rows']}x{row['cols']}" in line
        assert f"{row['energy'] / 1e9:,.2f}" in line
    assert "next  " not in text
    assert "rule us" not in text
    named = {
        name: row
        | {"verify": None, "cost": "the cost command"}
        | {"rule": {"time_us": 1e6 + row["index"]}}
        for name, row in swept["named"].items()
    }
    print_sweep.print_sweep(swept | {"refined": [{}, {}], "named": named})
    text = capsys.readouterr().out
    assert "rule us" in text
    assert "The best of 2 members of the front" in text
    assert f"{1e6 + named['knee']['index']:,.1f}" in text
    assert "next  the cost command" in text
    assert "None" not in text
