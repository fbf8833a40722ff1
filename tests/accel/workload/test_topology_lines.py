"""Lines are the same however they are separated, quoted, ended and encoded."""

import pytest

from accel.workload.topology_lines import lines
from configs.errors import InputError

TABLE = [["Layer", "M", "N", "K"], ["q", "10", "5", "7"], ["r", "1", "2", "3"]]


@pytest.fixture
def read(tmp_path):
    def cells(content: str | bytes):
        path = tmp_path / "net.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(lines(path, 1 << 20, "a table"))

    return cells


def cells(found) -> list[list[str]]:
    return [list(line.cells) for line in found]


def joined(separator: str, end: str) -> str:
    return end.join(separator.join(row) for row in TABLE) + end


@pytest.mark.parametrize("separator", [",", ";", "\t", " , ", ", ", ",\t", ",\t\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_change_nothing(read, separator, end):
    found = read(joined(separator, end))
    assert cells(found) == TABLE
    assert [line.number for line in found] == [1, 2, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_an_encoding_are_no_text(read, encoding):
    assert cells(read(joined("\t", "\r\n").encode(encoding))) == TABLE


def test_quotes_hold_separators(read):
    text = '"Layer" , "M",N,"K"\n"q, first", "10" ,"5",7\n'
    assert cells(read(text)) == [TABLE[0], ["q, first", "10", "5", "7"]]


@pytest.mark.parametrize(
    "empty",
    ["", " ", ",,,", " , ,,\t", '"","",', "#", "# a, b, c, d", "// no, layer, this"],
)
def test_lines_that_hold_nothing_keep_their_numbers(read, empty):
    found = [line for line in read(f"{empty}\nq,1,2,3,,\n{empty}\n") if not line.remark]
    assert [(line.number, line.cells) for line in found] == [(2, ("q", "1", "2", "3"))]


def test_a_remark_does_not_choose_the_separator(read):
    found = read("# one, two, three, four\nq;1;2;3\n")
    assert found[-1].cells == ("q", "1", "2", "3")
    assert read("sep=;\nq;1\n")[0].cells == ("q", "1")


@pytest.mark.parametrize("tail", ["#dw", ",#dw", ", # dw, 5", " # 7,8"])
def test_what_stands_behind_a_hash_is_a_remark(read, tail):
    assert cells(read(f"conv#1,1,2,3{tail}\n")) == [["conv#1", "1", "2", "3"]]


def test_a_title_is_a_line_of_one_text(read):
    titles = [line.title for line in read("A\nB,,\n,C,\n4,\n,4\nq,1\n")]
    assert titles == ["A", "B", "C", "4", "", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b",,,\n \n", "holds no layers; give a table"),
        (b"q,1,2\n\xff\n", "must be text in UTF-8, not so at byte 6"),
        (b"\xff\xfeq\x00\x00\x00", "must be text in UTF-8, not so at byte 1"),
        ("q,1,2\n" + "a" * 200_000, "line 2: no valid CSV: field larger than"),
    ],
)
def test_what_is_no_table_is_refused(read, content, message):
    with pytest.raises(InputError, match=message):
        read(content)
