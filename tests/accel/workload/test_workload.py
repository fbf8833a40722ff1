"""A workload: how many inferences its products belong to, which is no product's height."""

from itertools import permutations

import pytest

from accel.cost.cost import cost
from accel.cost.energy_tables import TABLES
from accel.machines.chip_file import find
from accel.workload.layer import LayerWorkload
from accel.workload.workload import Workload, counted, each, plural
from configs.errors import InputError

PRESET = TABLES["horowitz_45nm"]
# An encoder block's products: tokens, heads and a classifier, each of another height.
TOKENS = LayerWorkload(name="qkv", images=197, row_bytes=64, K=64, N=192)
SCORES = LayerWorkload(
    name="scores", images=197, row_bytes=32, K=32, N=197, repeats=2, weight_sets=0
)
HEAD = LayerWorkload(name="head", images=1, row_bytes=64, K=64, N=10)


def test_the_order_of_products_changes_no_total() -> None:
    """Whatever product comes first, there is one inference; by hand from the cycles."""
    chip, seen = find("small_16x16"), []
    for works in permutations((TOKENS, SCORES, HEAD)):
        found = cost(Workload(works=works), chip, PRESET)
        assert found["images"] == 1
        assert found["images_per_s"] == pytest.approx(700e6 / found["cycles"])
        assert found["energy_per_image"] == found["energy"]["total"]
        seen.append((found["cycles"], found["dram_bytes"], found["roofline"]))
    assert all(one == seen[0] for one in seen)


def test_inferences_divide_what_is_an_inference_s() -> None:
    """Five passes cost a fifth each; MACs an inference over the machine's peak."""
    works = (TOKENS, SCORES, HEAD)
    macs = 197 * 64 * 192 + 2 * 197 * 32 * 197 + 64 * 10
    found = cost(Workload(works=works, inferences=5), find("small_16x16"), PRESET)
    assert found["macs"] == macs
    assert found["energy_per_image"] == found["energy"]["total"] / 5
    peak_ms = macs / 5 / (256 * 700e6) * 1e3
    assert found["roofline"]["macs_ms_per_image"] == pytest.approx(peak_ms)
    assert found["workload"]["inferences"] == 5


def test_computed_factors_are_no_weights() -> None:
    """Scores have none; steps that share theirs have them once."""
    assert SCORES.weight_bytes == 0
    steps = LayerWorkload(name="lstm", row_bytes=8, K=8, N=16, repeats=30, weight_sets=1)
    groups = LayerWorkload(name="conv", row_bytes=8, K=8, N=16, repeats=30)
    assert (steps.weight_bytes, groups.weight_bytes) == (128, 30 * 128)
    load = Workload(works=(TOKENS, SCORES, HEAD))
    assert load.weight_bytes == 64 * 192 + 64 * 10


@pytest.mark.parametrize("sets", [-1, 3])
def test_more_weights_than_products_are_refused(sets: int) -> None:
    """By name."""
    with pytest.raises(InputError, match="`weight_sets`"):
        LayerWorkload(name="x", row_bytes=1, K=1, N=1, repeats=2, weight_sets=sets)


@pytest.mark.parametrize(
    ("fields", "named"), [({"works": ()}, "works"), ({"inferences": 0}, "inferences")]
)
def test_an_empty_workload_is_refused(fields, named) -> None:
    """By name."""
    with pytest.raises(InputError, match=f"`{named}`"):
        Workload(**({"works": (HEAD,)} | fields))


def test_words() -> None:
    """As people say them."""
    assert counted(1, "image") == "1 image"
    assert counted(1200, "pass") == "1,200 passes"
    assert (plural("image"), each("pass")) == ("images", "a pass")
