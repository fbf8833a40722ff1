"""A certificate is of each image by the first proof that succeeds, and says which."""

import dataclasses

import numpy as np
import probes

from train.probe import sections
from train.probe.ledger import Part
from train.probe.rows import Proof

EXAM = probes.exam(16)
ROWS = {image.tobytes(): number for number, image in enumerate(EXAM.images)}


def proof(numbers, tried: list | None = None):
    """Proves the images with some numbers; notes which it was given."""

    def certify(images, labels, levels):
        given = [ROWS[image.tobytes()] for image in images]
        if tried is not None:
            tried.append(given)
        return np.array([number in numbers for number in given], bool)

    return certify


def measured(crown_images: int, tried: list, closer=(1, 2, 12)) -> Part:
    one = probes.contender(
        probes.halves(),
        certify=proof({0, 5}),
        certificate="intervals",
        closer=(Proof(method="lines", certify=proof(set(closer), tried)),),
    )
    settings = dataclasses.replace(probes.TINY, crown_images=crown_images)
    return sections.certificates(one, EXAM, settings, lambda done, total: None)


def test_all_images_where_few_are_left() -> None:
    found = measured(14, [])
    first, second = found.data["rows"]
    assert (first["correct"], first["n"]) == (5, 16)
    assert first["by_method"] == {"intervals": 2, "lines": 3}
    assert first["method"] == "intervals or lines"
    assert (second["correct"], second["n"]) == (5, 16)
    assert np.flatnonzero(found.arrays["certified_2"]).tolist() == [0, 1, 2, 5, 12]


def test_the_first_images_where_many_are_left() -> None:
    """Those after them are not counted, whatever is known of them."""
    tried: list = []
    found = measured(4, tried)
    first = found.data["rows"][0]
    assert (first["correct"], first["n"]) == (3, 4)
    assert first["by_method"] == {"intervals": 1, "lines": 2}
    assert tried[0] == [1, 2, 3]
    assert np.flatnonzero(found.arrays["certified_2"]).tolist() == [0, 1, 2, 5]


def test_what_a_smaller_budget_did_not_prove_is_not_tried_again() -> None:
    tried: list = []
    measured(16, tried)
    assert tried == [[1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [1, 2, 12]]


def test_without_linear_bounds() -> None:
    tried: list = []
    first = measured(0, tried).data["rows"][0]
    assert (first["correct"], first["n"], tried) == (2, 16, [])
    assert first["by_method"] == {"intervals": 2}
