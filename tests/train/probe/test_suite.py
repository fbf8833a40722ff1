"""The whole probe, on networks so small that everything is known about them."""

import dataclasses
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import probes
import pytest

from train.probe import battery, gates, show, suite
from train.probe.ledger import Ledger
from train.probe.rows import Exam
from train.probe.settings import Settings
from train.probe.table import select
from train.progress import Display

# Nothing to certify, to turn or to corrupt in pictures this small.
SETTINGS = probes.TINY
QUIET = Display(quiet=True)


def run(tmp_path, contenders, settings=SETTINGS, **keywords):
    exam = probes.exam(16)
    ledger = Ledger(tmp_path / "parts", {"settings": {}}, **keywords)
    one = suite.Suite(contenders, exam, settings, ledger=ledger, display=QUIET)
    return one, one.run()


def exact(images, labels, levels) -> np.ndarray:
    """What no change within can break: the closed form of `probes.halves`."""
    x = images.astype(np.int64)
    more = x[:, :4].sum((1, 2, 3)) - x[:, 4:].sum((1, 2, 3))
    return np.abs(more) > levels * 64


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The network with its exact certificate, and one that is the same but blunter."""
    first = probes.contender(probes.halves(), name="float", certify=exact)
    second = probes.contender(probes.halves(2e-3), name="int8", certify=exact)
    return run(tmp_path_factory.mktemp("suite"), [first, second])


def test_the_headline_is_what_the_closed_form_says(both) -> None:
    """Within 51 levels most break, within 12 some; attacks find every one of them."""
    one, result = both
    for eps in SETTINGS.eps:
        levels = int(eps * 255)
        expected = exact(one.exam.images, one.exam.labels, levels).sum()
        for name in ("float", "int8"):
            (head,) = select(result.rows, probe="headline", model=name, eps=eps)
            assert head["correct"] == expected
            assert head["n"] == 12
            low, high = head["accuracy_95"]
            assert low <= head["accuracy"] <= high


def test_each_record_says_how_it_was_measured(both) -> None:
    _, result = both
    for one in result.rows:
        assert {"model", "probe", "correct", "n", "accuracy", "accuracy_95"} <= set(one)
        if one["probe"] in ("attack", "headline", "l2"):
            assert {"eps", "norm", "seconds"} <= set(one)
        if one["probe"] == "attack":
            assert {"levels", "steps", "tries", "newly_broken"} <= set(one)
    probes_ = {one["probe"] for one in result.rows}
    assert probes_ == {
        "clean", "fgsm", "rotation", "translation", "corruption", "certificate",
        "spatial", "attack", "headline", "l2",
    }  # fmt: skip


def test_attacks_come_in_order_and_only_what_is_left_is_attacked(both) -> None:
    """What one attack leaves the next gets; broken images are never attacked again."""
    _, result = both
    for eps in SETTINGS.eps:
        rows = select(result.rows, probe="attack", model="float", eps=eps)
        mine = [one for one in rows if not one["attack"].startswith("transfer")]
        names = [one["attack"] for one in mine]
        assert names == [
            "FGSM", "PGD-10 CE", "PGD-10 CE", "PGD-10 margin", "APGD-CE", "APGD-T",
            "Square", "Square",
        ]  # fmt: skip
        left = [one["correct"] for one in mine]
        assert left == sorted(left, reverse=True)
        for before, after in pairwise(mine[1:]):
            assert after["attacked"] == before["correct"]


def test_the_other_networks_images_are_tried(both) -> None:
    _, result = both
    transfers = {
        (one["model"], one["attack"]) for one in result.rows if "transfer" in str(one)
    }
    assert ("int8", "transfer from float") in transfers
    assert ("float", "transfer from int8") in transfers


def test_gates_passed_and_nothing_is_flagged(both) -> None:
    _, result = both
    assert {gate.model for gate in result.gates} == {"all", "float", "int8"}
    assert result.flags == []


def test_a_report_holds_headline_agreement_and_hashes(both) -> None:
    one, result = both
    found = suite.report(result, one.contenders, SETTINGS)
    assert found["headline"]["eps"] == 0.2
    assert found["headline"]["float"] == found["headline"]["int8"]
    assert {pair["agree"] for pair in found["agreement"]} == {12}
    assert found["models"]["float"]["sha256"] == "0" * 64
    assert suite.differences(result, one.exam, "float", "int8") == []
    result.states["float"].broken[3] ^= True
    (found,) = suite.differences(result, one.exam, "float", "int8")
    result.states["float"].broken[3] ^= True
    assert found["image"] == 3
    assert {found["float"], found["int8"]} == {"broken", "holds"}


def test_every_picture_is_drawn_from_the_result(both, tmp_path) -> None:
    one, result = both
    paths = show.write_pictures(
        tmp_path, result=result, contenders=one.contenders, exam=one.exam,
        settings=SETTINGS, name="halves", classes=["top", "bottom", "a", "b", "c"],
    )  # fmt: skip
    assert [path.stem for path in paths] == list(show.PICTURES)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    nothing = result._replace(rows=[], states={}, worst={})
    given = {"contenders": one.contenders, "exam": one.exam, "settings": SETTINGS}
    assert show.write_pictures(
        tmp_path, result=nothing, name="halves", classes=[], **given
    ) == []  # fmt: skip


def test_a_resumed_probe_finds_the_same_and_attacks_nothing_twice(
    tmp_path, monkeypatch
) -> None:
    one = probes.contender(probes.halves())
    settings = dataclasses.replace(SETTINGS, sections=("attacks",), eps=(0.2,))
    exam = probes.exam(16)
    whole = Ledger(tmp_path / "whole", {"settings": {}})
    expected = suite.Suite([one], exam, settings, ledger=whole, display=QUIET).run()

    class Stop(Exception):
        pass

    calls = []
    measure = battery._measure

    def counted(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise Stop
        return measure(*arguments)

    monkeypatch.setattr(battery, "_measure", counted)
    ledger = Ledger(tmp_path / "cut", {"settings": {}})
    with pytest.raises(Stop):
        suite.Suite([one], exam, settings, ledger=ledger, display=QUIET).run()
    again = Ledger(tmp_path / "cut", {"settings": {}}, resume=True)
    found = suite.Suite([one], exam, settings, ledger=again, display=QUIET).run()
    # Three rounds were kept, the fourth was cut; each was measured once.
    rounds = len(battery.rounds(settings)) + len(settings.eps_l2)
    # Square found nothing in as many further tries as it takes to end.
    rounds += battery.WINDOW
    assert len(calls) == 4 + rounds - 3
    timeless = lambda rows: [{k: v for k, v in r.items() if k != "seconds"} for r in rows]
    assert timeless(found.rows) == timeless(expected.rows)
    name = one.name
    np.testing.assert_array_equal(
        found.states[name].adversarial, expected.states[name].adversarial
    )


def test_a_masked_network_gets_no_numbers(tmp_path) -> None:
    """Plain rounding, no straight-through: refused before anything long begins."""
    logits = probes.halves()
    masked = lambda x: logits(jnp.round(x.astype(jnp.float32)))
    with pytest.raises(gates.RefusedError, match="no number is printed"):
        run(tmp_path, [probes.contender(masked)])


def test_a_false_certificate_is_found_out(tmp_path) -> None:
    everything = lambda images, labels, levels: np.ones(len(images), bool)
    one = probes.contender(probes.halves(), certify=everything)
    with pytest.raises(gates.RefusedError, match="crosses a certificate"):
        run(tmp_path, [one])


class Judged:
    """A judge that is one function on the host."""

    def __init__(self, logits) -> None:
        self.logits = logits

    def __call__(self, images) -> np.ndarray:
        return self.logits(images)

    def classes(self, images) -> np.ndarray:
        return self(images).argmax(-1)


@pytest.mark.parametrize(
    ("breaks", "n", "tries", "converged"),
    [
        ([0, 0, 0, 9], 1000, 3, True),
        ([1, 0, 0, 9], 1000, 3, True),
        ([0, 3, 1, 1, 0, 0, 9], 1000, 6, True),
        ([0, 3, 1, 0, 0, 0, 9], 100, 6, True),
        ([1, 1, 1, 1, 1, 1, 1, 1], 1000, 8, False),
        ([3] * 9, 1000, 8, False),
    ],
)
def test_square_goes_on_until_a_further_try_breaks_next_to_nothing(
    breaks, n, tries, converged, monkeypatch
) -> None:
    """At most 1 in 1,000 in three tries together: one that finds nothing by chance does
    not end it. Each is from a start of its own; the last record says whether."""
    seeds, left = [], iter([40, *breaks])

    def merged(contender, exam, eps, one, part, state, settings) -> dict:
        seeds.append(one.seed)
        sums = ("image_steps", "zero_gradient_all", "zero_gradient_some", "attacked")
        counted = dict.fromkeys(sums, 1) | {"tries": 1, "seconds": 0.5}
        return counted | {"newly_broken": next(left)}

    square = battery.rounds(SETTINGS)[-1]
    monkeypatch.setattr(battery, "_merge", merged)
    monkeypatch.setattr(battery, "rounds", lambda settings: [square])
    right = lambda images: np.tile(np.float32([1, 0]), (len(images), 1))
    judge = Judged(right)
    exam = Exam(images=np.zeros((n, 2), np.uint8), labels=np.zeros(n, int))
    state = battery.run(
        SimpleNamespace(name="int8", judge=judge), exam, 0.2, settings=Settings(),
        before=None, others={}, each=lambda one, title: None, done=lambda *about: None,
        ledger=SimpleNamespace(has=lambda key: False, part=lambda key, measure: None),
    )  # fmt: skip
    first, again = state.rows
    assert (first["newly_broken"], again["tries"]) == (40, tries)
    assert again["newly_broken_by_try"] == breaks[:tries]
    assert again["converged"] is converged
    assert len(set(seeds)) == len(seeds) == tries + 1


def test_several_seeds_give_a_spread(tmp_path) -> None:
    """The headline from each, and of all together; on a linear network they are equal."""
    settings = replace(SETTINGS, seeds=(3, 4), sections=("attacks",), eps=(0.2,))
    one, result = run(tmp_path, [probes.contender(probes.halves())], settings)
    found = suite.report(result, one.contenders, settings)["seeds"]["float"]
    assert found["seed"] == [0, 3, 4]
    expected = exact(one.exam.images, one.exam.labels, 51).mean()
    assert found["accuracy"] == [expected] * 3
    assert found["union"] == expected


def test_the_nearest_are_the_unbroken_of_largest_margin() -> None:
    """One in five of those evaluated, counted from the worst images so far."""
    margins = np.array([-5, -1, 3, -2, -9, -0.5, -4, -3, -8, -7, -6], np.float32)
    logits = lambda images: np.stack([np.zeros(len(images)), margins[images[:, 0]]], 1)
    one = SimpleNamespace(judge=Judged(logits))
    images = np.arange(11, dtype=np.uint8)[:, None]
    exam = Exam(images=images, labels=np.zeros(11, int))
    state = battery.State(adversarial=images, broken=margins > 0, rows=[])
    chosen = battery.nearest(one, exam, state)
    assert np.flatnonzero(chosen).tolist() == [1, 3, 5]


def test_a_record_of_further_tries_says_who_was_attacked(both) -> None:
    _, result = both
    for name in ("float", "int8"):
        first, again = select(result.rows, attack="Square", model=name, eps=0.2)
        assert again["converged"] is True
        assert again["nearest"] == 3
        assert again["attacked"] == min(3, first["correct"])
        assert "nearest" not in first


def test_transfer_counts_a_tie_as_argmax_decides_it() -> None:
    """Equal logits: the first class wins, whatever the margin is."""
    one = SimpleNamespace(
        name="int8", judge=Judged(lambda images: np.zeros((len(images), 2), np.float32))
    )
    exam = Exam(images=np.zeros((2, 4), np.uint8), labels=np.array([0, 1]))
    state = battery.State(adversarial=exam.images.copy(), broken=np.zeros(2, bool), rows=[])
    battery.transferred(one, exam, 0.2, state, "float", exam.images)
    assert state.broken.tolist() == [False, True]
    assert state.rows[-1]["newly_broken"] == 1
