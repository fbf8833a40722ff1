"""A whole sweep finds what brute force finds, on any devices, interrupted or not."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from accel.machines.provenance import Provenance
from accel.sweep import front, plan, reference, run, state
from accel.sweep.front import Front
from accel.sweep.metrics import METRICS
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

NAMES = front.DEFAULT


@pytest.fixture(scope="module")
def few(works):
    return works[2:]


@pytest.fixture(scope="module")
def everything(few, small_space, preset):
    """Every legal design of the small space, by the slow reference."""
    found, index = [], []
    for at in range(small_space.size):
        try:
            got = reference.metrics(few, small_space.design(at), preset)
        except InputError:
            continue
        index.append(at)
        found.append([got[name] for name in METRICS])
    return Front(np.array(index), np.array(found))


@pytest.fixture(scope="module")
def swept(few, small_space, preset):
    return run.sweep(few, small_space, preset)


def without_clock(summary):
    noise = ("wall_s", "designs_per_s", "devices", "resumed_at")
    return {name: value for name, value in summary.items() if name not in noise}


def test_the_front_is_that_of_all_designs(swept, everything, small_space):
    assert 20 < len(everything.index) < small_space.size
    assert swept["designs"] == small_space.size
    assert swept["legal"] == len(everything.index)
    assert swept["illegal"] == small_space.size - len(everything.index)
    wanted = front.pareto(everything, NAMES)
    assert 3 < len(wanted.index) < len(everything.index)
    assert [row["index"] for row in swept["front"]] == wanted.index.tolist()
    values = [[row[name] for name in METRICS] for row in swept["front"]]
    assert values == wanted.values.tolist()


def test_minima_and_heat_maps_are_those_of_all_designs(swept, everything, small_space):
    for name in METRICS:
        least = swept["least"][name]
        column = everything.column(name)
        assert least["value"] == column.min()
        at = everything.index.tolist().index(least["index"])
        assert column[at] == column.min()
    for name in ("time_us", "energy", "edp"):
        best = {}
        for index, value in zip(everything.index, everything.column(name), strict=True):
            design = small_space.design(int(index))
            key = design.rows, design.cols
            best[key] = min(best.get(key, np.inf), value)
        wanted = [[best.get((r, c)) for c in small_space.cols] for r in small_space.rows]
        assert swept["heat"][name] == wanted


def test_reasons_count_the_designs_that_do_not_fit(swept, few, small_space):
    """By the capacities that the smallest blocks of the rule take."""
    from accel.cost import fixed_mapping
    from accel.cost.mapping import Mapping

    small = dict.fromkeys(("activation_bytes", "weight_bytes", "sum_bytes"), 0)
    for at in range(small_space.size):
        design = small_space.design(at)
        memory, blamed = design.memory, set()
        for work, places in zip(few, fixed_mapping.kept(few, memory), strict=True):
            size = {"K": 1, "N": min(design.cols, work.N)}
            least = Mapping(strip=1, cols=1 if work.out_cols > 1 else None, **size)
            if work.col_bytes is None:
                least = replace(least, cols=None)
            need = least.capacity(work, memory, **vars(places))
            blamed |= {name for name in need if need[name] > getattr(memory, name)}
        for name in blamed:
            small[name] += 1
    found = dict(swept["too_small"])
    found.pop("together")
    assert found == small


def test_the_summary_is_json_and_names_designs_of_the_front(swept):
    again = json.loads(json.dumps(swept, allow_nan=False))
    rows = {row["index"]: row for row in again["front"]}
    for one in again["named"].values():
        assert one == rows[one["index"]]
    fastest = again["named"]["fastest"]
    assert fastest["time_us"] == again["least"]["time_us"]["value"]


def test_one_device_finds_the_same(few, small_space, preset, swept):
    assert len(jax.local_devices()) > 1
    alone = run.sweep(few, small_space, preset, devices=jax.local_devices()[:1])
    assert (alone["devices"], swept["devices"]) == (1, len(jax.local_devices()))
    assert without_clock(alone) == without_clock(swept)


class Stop(Exception):
    pass


def test_an_interrupted_sweep_goes_on(
    few, small_space, preset, swept, tmp_path, monkeypatch
):
    monkeypatch.setattr(run, "_STEP", 1)
    monkeypatch.setattr(run, "_SAVE_S", 0)
    path, said, seen = tmp_path / "state.npz", [], []

    def stop(done, size):
        seen.append(done)
        if len(seen) == 3:
            raise Stop

    options = {"state_path": path, "say": said.append}
    with pytest.raises(Stop):
        run.sweep(few, small_space, preset, progress=stop, **options)
    assert said[0] == "256 designs of 4 layers"
    assert "million a second" in said[1]
    resumed = run.sweep(few, small_space, preset, **options)
    # What was saved last, before the interruption.
    assert resumed["resumed_at"] == seen[1] > 0
    assert any(text.startswith(f"going on after {seen[1]} of 256") for text in said)
    assert without_clock(resumed) == without_clock(swept)
    again = run.sweep(few, small_space, preset, **options)
    assert again["resumed_at"] == 256
    assert without_clock(again) == without_clock(swept)
    for other in (
        {"works": few[:-1]},
        {"space": replace(small_space, rows=(2, 9))},
        {"preset": replace(preset, name="other")},
    ):
        parts = {"works": few, "space": small_space, "preset": preset} | other
        with pytest.raises(InputError, match="belongs to another sweep"):
            run.sweep(**parts, **options)
    with pytest.raises(InputError, match="belongs to another sweep"):
        run.sweep(few, small_space, preset, objectives=("cycles", "area"), **options)
    whole = path.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], b"{}"):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="is no state of a sweep; delete it"):
            run.sweep(few, small_space, preset, **options)


def test_a_sweep_that_is_too_long_is_refused(few, small_space, preset, monkeypatch):
    monkeypatch.setattr(run, "_STEP", 1)
    with pytest.raises(InputError, match=r"`Space` \(=256 designs\) takes .* longer than"):
        run.sweep(few, small_space, preset, longest_s=0.0)


def test_refusals_before_anything_runs(works, space, few, small_space, preset):
    with pytest.raises(InputError, match=r"`works` .* must hold a layer"):
        run.sweep([], small_space, preset)
    tiny = replace(small_space, weight_bytes=(1, 2))
    with pytest.raises(InputError, match=r"`--weight-kib` \(=0.00195312 at most\) is"):
        run.sweep(few, tiny, preset)
    power = Provenance(value=1000, unit="W", source="this test", status="assumed")
    with pytest.raises(InputError, match=r"energy of a design .* may reach"):
        run.sweep(works, space, replace(preset, static=power))
    huge = LayerWorkload(
        name="dense", images=1 << 24, row_bytes=1 << 20, K=1 << 20, N=1 << 20
    )
    with pytest.raises(InputError, match="a transfer in bytes, times MHz may reach"):
        run.sweep([huge], small_space, preset)


def test_other_legal_designs_on_the_device_are_seen(few, small_space, preset, monkeypatch):
    good = plan.Plan.legal_rows
    monkeypatch.setattr(plan.Plan, "legal_rows", lambda self, units: good(self, units) + 1)
    with pytest.raises(RuntimeError, match="other designs legal"):
        run.sweep(few, small_space, preset)


def test_counts_beyond_the_proof_are_seen(few, small_space, preset, monkeypatch):
    cycles = plan.bounds(few, small_space, preset)[0]
    monkeypatch.setattr(plan, "bounds", lambda *_: (cycles, 1000))
    with pytest.raises(RuntimeError, match="beyond the proved"):
        run.sweep(few, small_space, preset)


def test_bounds_are_above_what_comes_out(everything, few, small_space, preset):
    cycles, energy = plan.bounds(few, small_space, preset)
    assert everything.column("cycles").max() < cycles < 2**53
    assert everything.column("energy").max() < energy < 2**53


def test_the_identity_is_that_of_all_inputs(few, small_space, preset):
    key = state.identity(few, small_space, preset, NAMES)
    assert key == state.identity(list(few), small_space, preset, list(NAMES))
    assert key != state.identity(few, small_space, preset, NAMES[:2])


def test_rates_in_blocks_give_the_same(few, small_space, preset, swept, monkeypatch):
    """Four rates in blocks of three, the last one filled up."""
    monkeypatch.setattr(plan, "_RATES", 3)
    made = plan.make(few, small_space, preset)
    assert (made.rate_blocks, made.rate_block) == (2, 3)
    found = run.sweep(few, small_space, preset)
    assert without_clock(found) == without_clock(swept)
