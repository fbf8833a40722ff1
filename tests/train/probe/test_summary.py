"""The table: a column for each network, the headline with its interval, flags beside it."""

import pytest

from configs.errors import InputError
from train.probe import summary, table
from train.probe.rows import row


def found(**changes) -> dict:
    rows = []
    for model, right in (("float", 98), ("int8", 97)):
        rows += [
            row(model, "clean", 990, 1000),
            row(model, "attack", right, 100, eps=0.3, levels=76, attack="PGD-40 CE",
                tries=1, steps=41),
            row(model, "attack", right - 1, 100, eps=0.3, levels=76, attack="PGD-40 CE",
                tries=9, steps=41),
            row(model, "headline", right - 1, 100, eps=0.3, attack="worst of all"),
            row(model, "rotation", 950, 1000, angle_deg=-30.0),
            row(model, "corruption", 800, 1000, corruption="shot_noise"),
        ]  # fmt: skip
    return {
        "models": {"float": {}, "int8": {}},
        "rows": rows,
        "headline": {"eps": 0.3},
        "notes": {"float": {"corruptions": {"mean_error": 0.2, "left_out": {}}}},
        "gates": [{}] * 3,
        "flags": [{"model": "int8", "flag": "[b]doubtful[/b]"}],
        "agreement": [{"on": "float", "and": "int8", "agree": 99, "n": 100}],
        "differences": [{"image": 3}],
        "wall_s": 12.0,
        "files": ["worst_inputs.npz"],
    } | changes


def printed(capsys, folder, monkeypatch, **changes) -> list[str]:
    monkeypatch.setenv("COLUMNS", "160")
    summary.print_summary(found(**changes), folder, "python -m next")
    return capsys.readouterr().out.splitlines()


def test_each_line_has_a_share_for_every_network(tmp_path, capsys, monkeypatch) -> None:
    lines = printed(capsys, tmp_path, monkeypatch)
    attacks = [line for line in lines if "PGD-40 CE" in line]
    assert [line.split()[-2:] for line in attacks] == [["98.0", "97.0"], ["97.0", "96.0"]]
    assert "again" in attacks[1]
    assert "9 x 41" in attacks[1]
    (head,) = [line for line in lines if "WORST OF ALL" in line]
    assert "97.0 (91.5..99.4)" in head
    assert "96.0 (90.1..98.9)" in head
    (turned,) = [line for line in lines if "rotated -30" in line]
    assert turned.split()[-2:] == ["95.0", "95.0"]
    assert any("shot noise" in line for line in lines)


def test_flags_gates_and_what_is_next_stand_below(tmp_path, capsys, monkeypatch) -> None:
    """Text from outside stays text."""
    lines = printed(capsys, tmp_path, monkeypatch)
    assert "gates    3 passed" in lines
    assert "flag     int8: [b]doubtful[/b]" in lines
    assert "next     python -m next" in lines
    assert "images broken for one of the two only: 1" in lines
    assert any("agrees with it on 99 of 100" in line for line in lines)
    assert "flags    none" in printed(capsys, tmp_path, monkeypatch, flags=[])


def test_without_attacks_there_is_one_table(tmp_path, capsys, monkeypatch) -> None:
    rows = [r for r in found()["rows"] if r["probe"] in ("clean", "rotation")]
    given = found(rows=rows)
    del given["headline"]
    monkeypatch.setenv("COLUMNS", "160")
    summary.print_summary(given, tmp_path, "python -m next")
    out = capsys.readouterr().out
    assert "WORST OF ALL" not in out
    assert out.count("probe ") == 1


def test_a_damaged_file_is_refused_by_name() -> None:
    """Every record is checked for what the table asks of it."""
    table.check(found(), "probes.json")
    for name in ("rows", "models", "flags"):
        with pytest.raises(InputError, match=f"`{name}`"):
            table.check(found(**{name: None}), "probes.json")
    for number, one in enumerate(found()["rows"]):
        for key in ("model", "probe", "accuracy", "n", "accuracy_95"):
            rows = found()["rows"]
            rows[number] = {k: v for k, v in one.items() if k != key}
            with pytest.raises(InputError, match=rf"rows\[{number}\]"):
                table.check(found(rows=rows), "probes.json")
    for bad in ("text", None, [1], {"probe": "unheard of"}):
        with pytest.raises(InputError, match=r"rows\[0\]"):
            table.check(found(rows=[bad]), "probes.json")
    wrong = {**found()["rows"][1], "eps": "0.3"}
    with pytest.raises(InputError, match=r"rows\[0\]"):
        table.check(found(rows=[wrong]), "probes.json")


def test_transfer_stands_where_it_was_tried() -> None:
    """Before a network's own attacks or after them, so that its column falls."""
    one = {"eps": 0.3, "levels": 76, "tries": 1, "steps": 1}
    rows = [
        row("float", "attack", 95, 100, attack="PGD", **one),
        row("float", "attack", 94, 100, attack="transfer from int8", **one),
        row("int8", "attack", 96, 100, attack="transfer from float", **one),
        row("int8", "attack", 93, 100, attack="PGD", **one),
    ]
    attacks, _ = table.lines(found(rows=rows))
    shown = [
        (line.what.split("  ")[-1], line.shares(("float", "int8"))) for line in attacks
    ]
    assert shown[1:4] == [
        ("transfer from float", ["", "96.0"]),
        ("PGD", ["95.0", "93.0"]),
        ("transfer from int8", ["94.0", ""]),
    ]
