"""Hops and registers of the rule are those that the simulated array is seen to make."""

import numpy as np
import pytest

from accel.cost.access_counts import held, moved
from accel.cost.closed_form import Totals
from accel.machines.machine import Systolic
from accel.predict import timing
from accel.simulate.trace import record
from accel.workload.gemm import Gemm

NOTHING = Totals(0, 0, 0, 0, 0, 0, 0)


def seen(array: Systolic, M: int, K: int, N: int) -> dict[str, int]:
    """Useful multiplications of every PE, counted from its registers.

    Numbers are never 0 but where they are padding. One beyond the first column had its
    operand from the left, one below the first row what moves down from above.
    """
    draw = np.random.default_rng(M + K + N)
    x = draw.integers(1, 100, (M, K)).astype(np.int8)
    w = draw.integers(1, 100, (K, N)).astype(np.int8)
    planes = record(array, x, w).registers
    useful = planes["valid"] & (planes["input"] != 0) & (planes["weight"] != 0)
    return {
        "all": int(useful.sum()),
        "right": int(useful[:, :, 1:].sum()),
        "down": int(useful[:, 1:].sum()),
        "left edge": int(useful[:, :, 0].sum()),
        "top edge": int(useful[:, 0].sum()),
    }


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("shape", [(5, 4, 6), (7, 5, 4), (1, 3, 2)])
def test_the_rule_counts_what_the_registers_show(dataflow: str, shape: tuple) -> None:
    """Whole and ragged tiles on 3 x 2; every operand from its register, hop or edge."""
    array = Systolic(rows=3, cols=2, dataflow=dataflow)
    M, K, N = shape
    counted = timing.predict(array, Gemm("l", 1, M, K, N))
    t = moved(counted, NOTHING, sums=M * N, held=held(array))
    got = seen(array, M, K, N)
    assert got["all"] == counted.macs == M * K * N
    streams = {"ws": "inputs", "is": "weights", "os": "inputs"}[dataflow]
    t = t._asdict()
    assert t[f"hop_{streams}"] == got["right"]
    assert t[f"buffer_{streams}"] == got["left edge"]
    if dataflow == "os":
        assert t["hop_weights"] == got["down"]
        assert t["buffer_weights"] == got["top edge"]
        assert (t["register_sums"], t["hop_sums"]) == (8 * got["all"], 0)
    else:
        stays = "weights" if dataflow == "ws" else "inputs"
        assert t[f"register_{stays}"] == got["all"]
        assert t[f"hop_{stays}"] == t["register_sums"] == 0
        assert t["hop_sums"] == 4 * got["down"]
        # A sum leaves each column for every item and slice of K.
        assert counted.sum_writes + counted.output_writes == got["top edge"]


def test_a_streamed_operand_is_handed_on_by_all_columns_but_the_last() -> None:
    """4 inputs of a row of K, each used in 3 columns: 2 hops each."""
    array = Systolic(rows=4, cols=3)
    counted = timing.predict(array, Gemm("l", 1, 1, 4, 3))
    t = moved(counted, NOTHING, sums=3, held="weights")
    assert (t.hop_inputs, t.hop_sums) == (4 * (3 - 1), 4 * 3 * (4 - 1))
