"""A probe that is cut anywhere goes on; what is damaged is measured again."""

import numpy as np
import pytest

from configs import stored
from configs.errors import InputError
from train.probe import ledger
from train.probe.ledger import Ledger, Part
from train.probe.settings import QUICK, Settings

IDENTITY = {"settings": stored.to_dict(QUICK), "models": {"float": "abc"}}


def part(value: int) -> Part:
    return Part({"value": value}, {"image": np.full((2, 3), value, np.uint8)})


def test_a_part_is_measured_once(tmp_path) -> None:
    first = Ledger(tmp_path / "parts", IDENTITY)
    assert not first.has("float/linf/76/0")
    assert first.part("float/linf/76/0", lambda: part(1)).data == {"value": 1}
    again = Ledger(tmp_path / "parts", IDENTITY, resume=True)
    assert again.has("float/linf/76/0")
    found = again.part("float/linf/76/0", lambda: pytest.fail("measured again"))
    assert found.data == {"value": 1}
    np.testing.assert_array_equal(found.arrays["image"], part(1).arrays["image"])
    assert again.earlier_s >= 0


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_part_that_is_cut_short_is_measured_again(tmp_path, keep) -> None:
    Ledger(tmp_path / "parts", IDENTITY).part("one", lambda: part(1))
    path = tmp_path / "parts" / "one.part"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    again = Ledger(tmp_path / "parts", IDENTITY, resume=True)
    assert again.part("one", lambda: part(2)).data == {"value": 2}


def test_no_flipped_bit_is_taken_for_a_result(tmp_path) -> None:
    """The part is measured again, wherever the bit lies."""
    Ledger(tmp_path / "parts", IDENTITY).part("one", lambda: part(1))
    path = tmp_path / "parts" / "one.part"
    content = bytearray(path.read_bytes())
    again = Ledger(tmp_path / "parts", IDENTITY, resume=True)
    for at in range(0, len(content), 7):
        content[at] ^= 16
        path.write_bytes(content)
        found = again.part("one", lambda: part(2))
        assert found.data == {"value": 2}, at
        content[at] ^= 16


def test_an_interrupted_probe_is_not_overwritten_unasked(tmp_path) -> None:
    Ledger(tmp_path / "run" / "parts", IDENTITY).part("one", lambda: part(1))
    with pytest.raises(InputError, match="--resume"):
        Ledger(tmp_path / "run" / "parts", IDENTITY)
    begun_again = Ledger(tmp_path / "run" / "parts", IDENTITY, overwrite=True)
    assert not begun_again.has("one")


def test_another_probe_is_not_continued(tmp_path) -> None:
    Ledger(tmp_path / "parts", IDENTITY)
    other = {**IDENTITY, "models": {"float": "def"}}
    with pytest.raises(InputError, match="changed: models"):
        Ledger(tmp_path / "parts", other, resume=True)


def test_resume_asks_for_what_was_asked_before(tmp_path) -> None:
    assert ledger.begun(tmp_path / "parts") is None
    given = Settings(images=7, eps=(0.2,))
    Ledger(tmp_path / "parts", {"settings": stored.to_dict(given)})
    assert ledger.begun(tmp_path / "parts") == given


def test_a_closed_ledger_leaves_nothing(tmp_path) -> None:
    one = Ledger(tmp_path / "parts", IDENTITY)
    one.part("one", lambda: part(1))
    one.close()
    assert not (tmp_path / "parts").exists()
