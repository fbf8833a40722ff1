"""The registers of a systolic array from who meets whom when: nothing is shifted here.

Item m meets row r and column c on edge m + r + c after the first, whatever the wires did
in between; an independent judge of everything that steps registers.
"""

import numpy as np

from accel.machines.machine import Systolic


def reference(machine: Systolic, x: np.ndarray, w: np.ndarray) -> dict[str, np.ndarray]:
    """Every register after every edge, from the arithmetic of who meets whom when."""
    rows, cols = machine.rows, machine.cols
    x, w = x.astype(np.int64), w.astype(np.int64)
    if machine.dataflow == "os":
        return outputs_held(rows, cols, x, w)
    weights = machine.dataflow == "ws"
    tile, items = (w, x) if weights else (x.T, w.T)
    held, moving, total = operand_held(rows, cols, tile, items)
    names = ("weight", "input") if weights else ("input", "weight")
    return {names[0]: held, names[1]: moving, "sum": total}


def padded(matrix: np.ndarray, rows: int, cols: int) -> np.ndarray:
    out = np.zeros((rows, cols), np.int64)
    out[: matrix.shape[0], : matrix.shape[1]] = matrix
    return out


def operand_held(rows: int, cols: int, tile, items):
    count = len(items)
    tile, items = padded(tile, rows, cols), padded(items, count, rows)
    shape = (2 * rows + count + cols - 2, rows, cols)
    held, moving, total = (np.zeros(shape, np.int64) for _ in range(3))
    for edge, r, c in np.ndindex(shape):
        gone = min(edge + 1, rows)
        if r < gone:
            held[edge, r, c] = tile[rows - gone + r, c]
        item = edge - rows - r - c
        if 0 <= item < count:
            moving[edge, r, c] = items[item, r]
            total[edge, r, c] = items[item, : r + 1] @ tile[: r + 1, c]
    return held, moving, total


def outputs_held(rows: int, cols: int, x, w) -> dict[str, np.ndarray]:
    depth = len(w)
    x, w = padded(x, rows, depth), padded(w, depth, cols)
    shape = (depth + 2 * rows + cols - 2, rows, cols)
    registers = {name: np.zeros(shape, np.int64) for name in ("weight", "input", "sum")}
    for edge, r, c in np.ndindex(shape):
        k = edge - r - c
        if 0 <= k < depth:
            registers["weight"][edge, r, c] = w[k, c]
            registers["input"][edge, r, c] = x[r, k]
        drained = edge - (depth + rows + cols - 3)
        if drained <= 0:
            registers["sum"][edge, r, c] = x[r, : max(k + 1, 0)] @ w[: max(k + 1, 0), c]
        elif r >= drained:
            registers["sum"][edge, r, c] = x[r - drained] @ w[:, c]
    return registers
