"""The sheets show broken images of many classes, and say truly why these."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.probe.examples import EXAMPLES, chosen, scores

LABELS = np.array([2, 0, 0, 1, 2, 2, 1])


def changed(wrong, labels=LABELS):
    """Predictions that are right except at the indices `wrong`."""
    predicted = labels.copy()
    predicted[list(wrong)] += 1
    return predicted


def test_one_of_each_class_comes_first():
    choice = chosen(LABELS, {"m": changed([])}, {"m": changed([0, 1, 4, 5, 6])}, None)
    # The first broken of classes 0, 1 and 2, then what is left.
    assert list(choice.indices) == [1, 6, 0, 4, 5]
    assert choice.sentence == (
        "Shown: all 5 images right before and wrong after, one of each class first."
    )


def test_wrong_before_is_not_broken():
    choice = chosen(LABELS, {"m": changed([0, 3])}, {"m": changed([0, 3, 4])}, None)
    assert list(choice.indices) == [4]


def test_what_misleads_most_models_is_preferred():
    right = changed([])
    after = {"float": changed([1]), "int8": changed([1, 2, 3])}
    choice = chosen(LABELS, {"float": right, "int8": right}, after, None)
    assert list(choice.indices) == [1, 3, 2]
    after = {"float": changed([2]), "int8": changed([1, 2, 3])}
    choice = chosen(LABELS, {"float": right, "int8": right}, after, None)
    assert list(choice.indices) == [2, 3, 1]
    assert "wrong after for at least one model" in choice.sentence


def test_if_none_is_broken_the_nearest_of_those_right_before_are_shown():
    losses = np.array([9.0, 1.0, 5.0, 2.0, 2.0, 0.0, 7.0])
    wrong = {"m": changed([0])}
    choice = chosen(LABELS, wrong, wrong, losses)
    assert list(choice.indices) == [6, 2, 3, 4, 1, 5]
    assert choice.sentence == (
        "No image that was right before is wrong after; shown, of those right before: the "
        "6 nearest to a mistake (highest loss)."
    )
    choice = chosen(LABELS, wrong, wrong, None)
    assert list(choice.indices) == [1, 2, 3, 4, 5, 6]
    assert choice.sentence.endswith("those right before: the first 6.")


def test_a_network_that_is_always_wrong_has_images_too():
    never = {"m": LABELS + 1}
    choice = chosen(LABELS, never, never, np.arange(7.0))
    assert list(choice.indices) == list(range(7))
    assert choice.sentence == "No image was right before; shown: the first 7."


bits = st.lists(
    st.tuples(st.integers(0, 3), *[st.integers(0, 4)] * 4), min_size=1, max_size=40
)


@given(bits)
def test_every_choice_is_what_its_sentence_says(rows):
    labels, float_before, int8_before, float_after, int8_after = np.array(rows).T
    before = {"float": float_before, "int8": int8_before}
    after = {"float": float_after, "int8": int8_after}
    choice = chosen(labels, before, after, None)
    broken = (float_before == labels) & (float_after != labels)
    broken |= (int8_before == labels) & (int8_after != labels)
    pick = choice.indices
    assert len(set(pick)) == len(pick) <= EXAMPLES
    if not broken.any():
        assert "Shown:" not in choice.sentence
        return
    assert broken[pick].all()
    assert len(pick) == min(EXAMPLES, broken.sum())
    assert f" {broken.sum()} images right before" in choice.sentence
    kinds = len(set(labels[broken]))
    assert len(set(labels[pick[:kinds]])) == min(kinds, EXAMPLES)


def test_scores_count_right_images():
    text = scores(LABELS, {"float": changed([1])}, {"float": changed([1, 2, 3])})
    assert text == "Right before → after, of n = 7 test images: float 6 → 4."
