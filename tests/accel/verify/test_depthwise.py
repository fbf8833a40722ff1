"""The depthwise table: three ways on four arrays, by hand, and stepped where cheap."""

import pytest

from accel.verify.depthwise import layer, table

M, K, C = 14 * 14, 9, 64


def ceil(a, b):
    return -(-a // b)


def test_every_row_by_hand():
    """Weight stationary, predicted only."""
    rows = table(dataflows=("ws",), most_slots=0)
    assert [row["rows"] for row in rows] == [s for s in (8, 16, 32, 128) for _ in range(4)]
    for row in rows:
        side, way = row["rows"], row["way"].split()
        tile = 2 * side + M + side - 2
        expected = {
            "channels": C * ceil(K, side) * tile,
            "vector": M * K * ceil(C, side),
        }
        if way[0] == "diagonal":
            together = int(way[1])
            whole, rest = divmod(C, together)
            sizes = [together] * whole + [rest]
            tiles = sum(ceil(p * K, side) * ceil(p, side) for p in sizes)
            expected["diagonal"] = tiles * tile
        assert row["cycles_closed_form"] == expected[way[0]]
        assert row["macs"] == M * K * C
        assert row["cycles_stepped"] is row["verified"] is None
    by_way = {(row["rows"], row["depthwise"]): row["cycles_closed_form"] for row in rows}
    for side in (8, 16, 32, 128):
        channels, diagonal, vector, auto = (
            by_way[side, way] for way in ("channels", "diagonal", "vector", "auto")
        )
        assert auto == min(channels, diagonal, vector)
        assert diagonal < channels


@pytest.mark.usefixtures("small_programs")
def test_a_small_layer_is_stepped():
    rows = table(layer(channels=6, size=4), sides=(4,))
    assert len(rows) == 8
    for row in rows:
        assert row["verified"] is True
        assert row["cycles_stepped"] == row["cycles_closed_form"]
