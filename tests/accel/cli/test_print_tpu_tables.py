"""The TPU's tables, as text and as markdown."""

import io

import pytest
from rich.console import Console

from accel.cli import print_tpu_tables
from accel.tpu import explain
from accel.tpu.machine import TpuMachine
from accel.tpu.paper import calibration, paper
from configs.registry import load_network


def _text(show, found) -> str:
    out = Console(file=io.StringIO(), width=200, markup=False)
    show(found, out)
    return out.file.getvalue()


def test_an_application_beside_what_is_published():
    found = explain.explain(paper.app("MLP0"), 200, calibration.fitted_machine())
    text = _text(print_tpu_tables.show, found)
    lines = [" ".join(line.replace("│", " ").split()) for line in text.splitlines()]
    active = f"array active {100 * found['shares']['active']:.1f} % 12.7 %"
    assert active in lines
    assert any("ridge" in line and "bound by weights" in line for line in lines)
    assert any(line.startswith("dense5 200 62") and "fetch" in line for line in lines)


def test_what_does_not_fit_or_agree_is_said():
    found = explain.explain(load_network("mnist_mlp"), 2, TpuMachine(), batches=1)
    assert "does NOT fit" not in _text(print_tpu_tables.show, found)
    assert "DIFFERS" not in _text(print_tpu_tables.show, found)
    found |= {"agrees": False}
    found["unified_buffer"] |= {"fits": False}
    text = _text(print_tpu_tables.show, found)
    assert "does NOT fit" in text
    assert "DIFFERS" in text


def test_response_with_table_4():
    found = explain.respond(paper.app("MLP0"), 200, calibration.fitted_machine())
    text = _text(print_tpu_tables.show_response, found)
    assert "within 7 ms at a load of 80%: no batch" in text
    assert "published 7 ms" in text
    assert "published 10 ms" in text


@pytest.fixture(scope="module")
def table():
    machine = calibration.fitted_machine()
    made = print_tpu_tables.markdown(
        [calibration.predict(app, machine) for app in paper.APPS]
    )
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in made.splitlines()]


def test_markdown_has_every_application(table):
    """Published, ours, error, shares, declared inputs, and Google's own error."""
    assert {len(row) for row in table} == {9}
    rows = {row[0]: row for row in table[2:]}
    assert list(rows) == [app.name for app in paper.APPS]
    mlp1 = calibration.predict(paper.app("MLP1"), calibration.fitted_machine())
    assert rows["MLP1"][1:4] == ["9.7", f"{mlp1.tops:.2f}", f"{mlp1.tops_error:+.1f} %"]
    assert rows["MLP1"][-2:] == ["batch 168, fill 88.7 %", "10.9 %"]
    assert rows["LSTM0"][-2].endswith("half speed")


def test_markdown_says_what_was_fitted(table):
    assert [row[0] for row in table if "(fitted)" in row[2]] == ["MLP0"]
