"""Broken registers do what a plain model of their bits does, and reach no further."""

import jax.numpy as jnp
import numpy as np
import pytest
from arrays import exact, factors, machines
from hypothesis import given, settings
from hypothesis import strategies as st

from accel.machines.machine import Systolic
from accel.simulate import register_level
from accel.simulate.faults import NONE, WIDTHS, Fault, Masks, broken, masks
from configs.errors import InputError

ROWS, COLS = 3, 2
WS, SKEWED, GLOBAL, IS, _, _, OS = machines(ROWS, COLS)
UNSIGNED = {"weight": True, "input": False, "sum": True}
SIGNED = UNSIGNED | {"input": True}
name = lambda machine: machine.name


@st.composite
def faults(draw, registers=tuple(WIDTHS)) -> Fault:
    register = draw(st.sampled_from(registers))
    return Fault(
        register=register,
        row=draw(st.integers(0, ROWS - 1)),
        col=draw(st.integers(0, COLS - 1)),
        bit=draw(st.integers(0, WIDTHS[register] - 1) | st.just(WIDTHS[register] - 1)),
        kind=draw(st.sampled_from(["stuck_0", "stuck_1", "flip"])),
    )


def taken(
    values, register: str, row: int, col: int, found: list[Fault], signed
) -> np.ndarray:
    """What one register makes of values: bit strings of its width, stuck, then flipped."""
    width = WIDTHS[register]
    strings = np.asarray(values, np.int64) & ((1 << width) - 1)
    mine = [f for f in found if (f.register, f.row, f.col) == (register, row, col)]
    for fault in sorted(mine, key=lambda fault: fault.kind == "flip"):
        if fault.kind == "stuck_0":
            strings &= ~(1 << fault.bit)
        elif fault.kind == "stuck_1":
            strings |= 1 << fault.bit
        else:
            strings ^= 1 << fault.bit
    negative = strings >> (width - 1) if signed[register] else 0
    return strings - (negative << width)


# --- One register. ---


@given(
    found=st.lists(faults(), max_size=4),
    signed=st.sampled_from([SIGNED, UNSIGNED]),
    seed=st.integers(0, 99),
)
@settings(max_examples=200, deadline=None)
def test_masks_are_a_model_of_bit_strings(found, signed, seed):
    draw = np.random.default_rng(seed)
    made = masks(found, WS, signed)
    assert set(made.keep) == {fault.register for fault in found}
    for register, width in WIDTHS.items():
        low = -(1 << (width - 1)) if signed[register] else 0
        plane = draw.integers(low, low + (1 << width), (ROWS, COLS, 4))
        plane[0, 0] = [low, low + (1 << width) - 1, 0, low + (1 << width) // 2]
        after = broken(jnp.asarray(plane.astype(np.int32)), register, made)
        assert after.dtype == np.int32
        for row, col in np.ndindex(ROWS, COLS):
            model = taken(plane[row, col], register, row, col, found, signed)
            assert np.array_equal(after[row, col], model)


@pytest.mark.parametrize("register", WIDTHS)
def test_without_faults_a_register_holds_what_it_takes(register):
    plane = jnp.arange(6, dtype=jnp.int32).reshape(3, 2, 1)
    assert broken(plane, register, NONE) is plane
    assert masks([], WS, SIGNED) == NONE


@pytest.mark.parametrize(
    ("value", "bit", "kind", "signed", "expected"),
    [
        (5, 7, "flip", True, 5 - 128),
        (5, 7, "flip", False, 5 + 128),
        (-1, 7, "stuck_0", True, 127),
        (255, 7, "stuck_0", False, 127),
        (-128, 0, "stuck_1", True, -127),
        (0, 7, "stuck_1", True, -128),
    ],
)
def test_the_top_bit_by_hand(value, bit, kind, signed, expected):
    fault = Fault(register="input", row=0, col=0, bit=bit, kind=kind)
    made = masks([fault], Systolic(rows=1, cols=1), {"input": signed})
    assert (
        int(broken(jnp.full((1, 1, 1), value, jnp.int32), "input", made)[0, 0, 0])
        == expected
    )


# --- A register in its array: exact products of broken operands and sums. ---


def tiles(size: int, side: int):
    return [range(first, min(first + side, size)) for first in range(0, size, side)]


def weight_stationary(machine, x_MK, w_KN, found, signed) -> np.ndarray:
    """Sums of an array with broken registers, tile by tile, PE by PE, int32."""
    take = lambda values, *place: taken(values, *place, found, signed)
    sums = np.zeros((len(x_MK), w_KN.shape[1]), np.int64)
    # A weight passes every row above its own, unless it has a register for that.
    passes = lambda row: range(row + 1) if machine.weights == "single" else [row]
    for ks in tiles(len(w_KN), ROWS):
        for ns in tiles(w_KN.shape[1], COLS):
            for col, n in enumerate(ns):
                s = np.zeros(len(x_MK), np.int64)
                for row in range(ROWS):
                    k = ks[row] if row < len(ks) else None
                    w = 0 if k is None else int(w_KN[k, n])
                    x = 0 * s if k is None else x_MK[:, k].astype(np.int64)
                    for r in passes(row):
                        w = take(w, "weight", r, col)
                    for c in range(col):
                        x = take(x, "input", row, c)
                    s = take(s + x * w, "sum", row, col)
                sums[:, n] += s
    return sums.astype(np.int32)


def output_stationary(machine, x_MK, w_KN, found, signed) -> np.ndarray:
    """The same, sum by sum; on its way out a sum passes the rows below."""
    take = lambda values, *place: taken(values, *place, found, signed)
    sums = np.zeros((len(x_MK), w_KN.shape[1]), np.int64)
    for m, n in np.ndindex(*sums.shape):
        (row, col), s = (m % ROWS, n % COLS), 0
        for x, w in zip(x_MK[m].astype(int), w_KN[:, n].astype(int), strict=True):
            for c in range(col):
                x = take(x, "input", row, c)
            for r in range(row):
                w = take(w, "weight", r, col)
            s = take(s + x * w, "sum", row, col)
        for r in range(row + 1, ROWS):
            s = take(s, "sum", r, col)
        sums[m, n] = s
    return sums.astype(np.int32)


def model(machine, x_MK, w_KN, found, signed) -> np.ndarray:
    if machine.dataflow == "os":
        return output_stationary(machine, x_MK, w_KN, found, signed)
    if machine.dataflow == "ws":
        return weight_stationary(machine, x_MK, w_KN, found, signed)
    return weight_stationary(machine, w_KN.T, x_MK.T, found, signed).T


def everywhere(found: list[Fault], machine: Systolic, signed) -> Masks:
    """Masks of all registers, so that one program serves any faults."""
    made = masks(found, machine, signed)
    for value, planes in zip((-1, 0, 0), made, strict=True):
        for register in WIDTHS:
            planes.setdefault(register, np.full((ROWS, COLS), value, np.int32))
    return made


@pytest.fixture(scope="module", autouse=True)
def small_programs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(register_level, "_PIECE", 32)
        patch.setattr(register_level, "_PLANE", 1)
        yield


CASES = [
    (WS, np.uint8), (WS, np.int8), (SKEWED, np.uint8), (GLOBAL, np.uint8),
    (IS, np.uint8), (OS, np.uint8), (OS, np.int8),
]  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "dtype"), CASES, ids=[f"{m.name}-{np.dtype(d)}" for m, d in CASES]
)
@given(found=st.lists(faults(), min_size=1, max_size=3), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_sums_are_those_of_broken_operands(machine, dtype, found, seed):
    x, w = factors(1, 4, 7, 5, dtype=dtype, seed=seed)
    signed = SIGNED if dtype is np.int8 else UNSIGNED
    if machine.dataflow == "is":
        # The array's names: what it holds are inputs.
        signed = signed | {"weight": signed["input"], "input": signed["weight"]}
    run = register_level.run(machine, x, w, everywhere(found, machine, signed))
    assert np.array_equal(run.sums[0], model(machine, x[0], w, found, signed))
    # Data are broken, the bits that count are not.
    assert (
        run.counters
        == register_level.run(machine, x, w, everywhere([], machine, signed)).counters
    )


@pytest.mark.parametrize("machine", [WS, SKEWED, GLOBAL, IS, OS], ids=name)
def test_masks_that_break_nothing_change_nothing(machine):
    x, w = factors(1, 4, 7, 5)
    run = register_level.run(machine, x, w, everywhere([], machine, UNSIGNED))
    assert np.array_equal(run.sums, exact(x, w))


REACH = {
    # Register, PE, and the columns of the array whose sums may be wrong.
    "sum": ((1, 0), [0]),
    "weight": ((1, 0), [0]),
    "input": ((1, 0), [1]),
}


@pytest.mark.parametrize("machine", [WS, SKEWED, GLOBAL], ids=name)
@pytest.mark.parametrize("register", REACH)
def test_a_fault_reaches_the_columns_behind_it(machine, register):
    (row, col), columns = REACH[register]
    fault = Fault(register=register, row=row, col=col, bit=3, kind="flip")
    x, w = factors(1, 4, 7, 5)
    run = register_level.run(machine, x, w, everywhere([fault], machine, UNSIGNED))
    wrong = (run.sums[0] != exact(x, w)[0]).any(0)
    assert wrong.tolist() == [n % COLS in columns for n in range(5)]


@pytest.mark.parametrize(("machine", "rows"), [(WS, [1, 2]), (SKEWED, [1]), (GLOBAL, [1])])
def test_weights_that_pass_a_broken_register_are_broken(machine, rows):
    """One register a PE: the rows below get theirs through it."""
    fault = Fault(register="weight", row=1, col=0, bit=0, kind="flip")
    w = factors(1, 1, 3, 2)[1]
    x = np.eye(3, dtype=np.uint8)[None]
    run = register_level.run(machine, x, w, everywhere([fault], machine, UNSIGNED))
    assert np.argwhere(run.sums[0] != w).tolist() == [[row, 0] for row in rows]


def test_a_sum_that_waits_is_broken_once():
    """A register that holds what it has takes nothing: no bit flips to and fro."""
    fault = Fault(register="sum", row=0, col=0, bit=0, kind="flip")
    x, w = np.zeros((1, 3, 1), np.uint8), np.zeros((1, 2), np.int8)
    run = register_level.run(OS, x, w, everywhere([fault], OS, UNSIGNED))
    assert run.sums[0].tolist() == [[1, 0], [0, 0], [0, 0]]


def test_masks_of_one_register_alone():
    """Registers without faults have no masks at all."""
    fault = Fault(register="weight", row=0, col=1, bit=2, kind="stuck_1")
    x, w = factors(1, 4, 7, 5)
    run = register_level.run(WS, x, w, masks([fault], WS, UNSIGNED))
    assert np.array_equal(run.sums[0], model(WS, x[0], w, [fault], UNSIGNED))


# --- Refusals. ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bit": 8}, r"`bit` \(=8\) of Fault must be in 0..7"),
        ({"bit": -1}, r"`bit` \(=-1\) of Fault must be in 0..7"),
        ({"bit": 32, "register": "sum"}, r"`bit` \(=32\) of Fault must be in 0..31"),
        ({"kind": "melted"}, r"`kind` \(='melted'\) of Fault must be one of stuck_0"),
        ({"register": "skew"}, r"`register` \(='skew'\) of Fault must be one of weight"),
        ({"row": 0.5}, r"`row` \(=0.5\) of Fault must be a whole number"),
    ],
)
def test_what_is_no_fault_is_refused(change, message):
    given = {"register": "weight", "row": 0, "col": 0, "bit": 0, "kind": "flip"}
    Fault(**given)
    with pytest.raises(InputError, match=message):
        Fault(**given | change)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ((3, 0), r"`row` \(=3\) of Fault must be in 0..2 on systolic_ws_3x2"),
        ((-1, 0), r"`row` \(=-1\) of Fault must be in 0..2"),
        ((0, 2), r"`col` \(=2\) of Fault must be in 0..1"),
    ],
)
def test_a_fault_outside_the_array_is_refused(place, message):
    make = lambda row, col: Fault(register="sum", row=row, col=col, bit=31, kind="flip")
    make(2, 1).require_inside(WS)
    with pytest.raises(InputError, match=message):
        make(*place).require_inside(WS)
