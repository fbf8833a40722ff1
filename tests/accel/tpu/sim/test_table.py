"""Programs as columns."""

import numpy as np

from accel.tpu.sim import clock
from accel.tpu.sim.table import ACTIVATE, MATMUL, READ_WEIGHTS, Row, Table, table


def test_columns_are_the_rows_fields():
    """Field by field, in the order of the program, int64."""
    rows = [
        Row(kind=MATMUL, duration=2, rows=3, new_tile=1, accumulate=1, half=1, shift=4),
        Row(kind=ACTIVATE, drain=5, used=6),
    ]
    made = table(rows)
    assert Table._fields == Row._fields
    assert [Row(*row) for row in zip(*(c.tolist() for c in made), strict=True)] == rows
    assert {column.dtype for column in made} == {np.dtype(np.int64)}


def test_an_empty_program_has_empty_columns_and_takes_no_time():
    made = table([])
    assert {len(column) for column in made} == {0}
    assert len(clock.run(made, fifo=4).end) == 0


def test_padding_takes_no_time():
    """The same times, and zeros after them."""
    rows = table(
        [Row(kind=READ_WEIGHTS, duration=3), Row(kind=MATMUL, duration=2, new_tile=1)]
    )
    short, long = clock.run(rows, fifo=1), clock.run(rows.padded(9), fifo=1)
    assert long.end.tolist() == short.end.tolist() + [0] * 7
