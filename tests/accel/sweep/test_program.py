"""The device's numbers equal the slow reference: every field, every kind of block."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from accel.sweep import forms, plan, program, reference
from accel.sweep.metrics import METRICS
from configs.errors import InputError

NAMES = ("time_us", "energy", "area")


def rows_of(made, unit, rows):
    """All metrics [METRICS, rows, rates] of some combinations of buffers."""
    front = np.full((3, 4), np.inf)
    with jax.enable_x64(True):
        found = program.detail(made.tables, front, np.int64(unit), rows, NAMES)[0]
        return np.asarray(found)


def differing(works, space, preset, points, draw):
    """Random points that are legal, and those whose fields differ from the reference."""
    made = plan.make(works, space, preset)
    legal, wrong = 0, []
    for _ in range(points // 4):
        unit = draw.randrange(made.units)
        rows = np.array([draw.randrange(space.buffers) for _ in range(4)])
        values = rows_of(made, unit, rows)
        for at, row in enumerate(rows):
            rate = draw.randrange(made.rate_block)
            design = space.design(int(made.index(unit, row, rate)))
            found = dict(zip(METRICS, values[:, at, rate].tolist(), strict=True))
            try:
                wanted = reference.metrics(works, design, preset)
            except InputError:
                wanted = dict.fromkeys(METRICS, np.inf)
            else:
                legal += 1
            if found != wanted:
                wrong.append((design, found, wanted))
    return legal, wrong


def test_random_points_equal_the_slow_reference(works, space, preset):
    """Whole rows and pieces, whole K and slices of it: the options hold all of them."""
    legal, wrong = differing(works, space, preset, 600, random.Random(1))
    assert not wrong, wrong[0]
    assert legal > 300
    options = plan.make(works, space, preset).choices.options
    assert options.room.any()
    assert options.count[:, 1].any()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("dma_cycles", lambda moved, rates: jnp.floor(moved * rates.cycles_per_byte)),
        ("period", lambda compute, dma: compute + 0 * dma),
    ],
)
def test_a_wrong_form_is_seen(works, space, preset, monkeypatch, name, fault):
    monkeypatch.setattr(forms, name, fault)
    jax.clear_caches()
    _, wrong = differing(works, space, preset, 40, random.Random(2))
    jax.clear_caches()
    assert wrong


@pytest.mark.parametrize("at", range(10))
def test_every_period_matters(at):
    """None of the ten is empty: without it the cycles of some layer are others."""
    draw = np.random.default_rng(5)
    with jax.enable_x64(True):
        sizes = [jnp.array(draw.integers(1, 6, (1, 200))) for _ in range(10)]
        blocks = forms.Blocks(*sizes)._replace(leaves=sizes[-1] % 2)
        work = forms.BlockCycles(
            *(jnp.array(draw.integers(1, 60, (1, 200))) for _ in range(4))
        )
        found, ends = forms.periods(blocks, work)
        rates = forms.Rates(jnp.array([1.0]), jnp.array([0.5]))
        whole = forms.cycles(found, ends, rates)
        less = forms.cycles(found[:at] + found[at + 1 :], ends, rates)
        assert (np.asarray(less) < np.asarray(whole)).any()


@pytest.mark.parametrize("worse", [1.001, 1.0])
def test_what_a_front_cannot_beat_is_not_thrown_away(works, space, preset, worse):
    """A front of one row's own ideal point, or a little worse, leaves that row."""
    made = plan.make(works, space, preset)
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), ("all",))
    with jax.enable_x64(True):
        sweep = program.sweeper(mesh, NAMES)
        nothing = np.full((3, 1), np.inf)
        units = np.array([[made.units // 2]])
        first = sweep(made.tables, nothing, units)
        maybe, ideal = np.asarray(first.maybe)[0, 0], np.asarray(first.ideal)[0, 0]
        assert maybe.sum() == first.legal[0, 0] > 3
        least = dict(zip(METRICS, np.asarray(first.least)[0, 0].tolist(), strict=True))
        assert ideal.min(1).tolist() == [least[name] for name in NAMES]
        for row in np.flatnonzero(maybe)[::7]:
            again = sweep(made.tables, worse * ideal[:, [row]], units)
            assert np.asarray(again.maybe)[0, 0][row]
            below = sweep(made.tables, 0.999 * ideal[:, [row]], units)
            assert not np.asarray(below.maybe)[0, 0][row]


def test_ceilings_are_exact_up_to_the_bound():
    draw = np.random.default_rng(3)
    bandwidth = draw.integers(1, 1 << 17, 4000)
    clock = draw.integers(1, 1 << 12, 4000)
    whole = draw.integers(0, (1 << 49) // (clock * bandwidth)) * bandwidth
    with jax.enable_x64(True):
        for moved in (whole, whole + 1, np.maximum(whole - 1, 0)):
            c, b = clock.astype(float), bandwidth.astype(float)
            rates = forms.Rates(jnp.array(c / b), jnp.array(0.5 / b))
            found = np.asarray(forms.dma_cycles(jnp.array(moved.astype(float)), rates))
            wanted = [
                -(-int(m) * int(k) // int(w))
                for m, k, w in zip(moved, clock, bandwidth, strict=True)
            ]
            assert found.astype(np.int64).tolist() == wanted


def test_ceilings_beyond_the_bound_go_wrong():
    """The bound is needed: above it the half is lost, and whole quotients come out one
    too large."""
    moved, bandwidth = 3 * ((1 << 53) // 3), 3
    with jax.enable_x64(True):
        rates = forms.Rates(jnp.array(1.0 / bandwidth), jnp.array(0.5 / bandwidth))
        found = forms.dma_cycles(jnp.array(float(moved)), rates)
    assert int(found) != moved // bandwidth


def test_the_form_has_a_derivative(monkeypatch):
    """Nothing is decided by value: a relaxed ceiling is all that a gradient needs."""
    monkeypatch.setattr(
        forms, "dma_cycles", lambda moved, rates: moved * rates.cycles_per_byte
    )
    with jax.enable_x64(True):
        sizes = (3, 2, 4, 4, 5, 3, 7, 30, 30, 1)
        blocks = forms.Blocks(*(jnp.full((1, 1), v) for v in sizes))
        work = forms.BlockCycles(*(jnp.full((1, 1), 10) for _ in range(4)))
        found, ends = forms.periods(blocks, work)

        def cycles(ratio):
            rates = forms.Rates(ratio[None], ratio[None])
            return forms.cycles(found, ends, rates).sum()

        # DRAM decides everything: cycles are bytes, 3 x 30 of inputs, 3 x 7 x 8 of
        # weights, 12 x 8 of outputs, times the ratio.
        assert jax.grad(cycles)(jnp.array(5.0)) == 90 + 168 + 96
        assert jax.grad(cycles)(jnp.array(0.001)) < 90 + 168 + 96
