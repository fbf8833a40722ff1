"""Runs one matrix product through SCALE-Sim and prints its seconds and cycles.

    python benchmarks/scalesim_run.py ROWS COLS M K N     (with SCALE-Sim's own Python)

Weight stationary, no traces, bandwidth estimated, so that its memory model never stalls.
Timed from its configuration object to its last report, after a small product that warms it
up; its import and our writing of its input files are left out. Prints one JSON line.

Imports nothing of Lockstep: SCALE-Sim needs another numpy, so another environment.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from pathlib import Path

from scalesim.scale_sim import scalesim

# Every key is compulsory; what its memory model asks for beyond the sizes is not used.
_CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
IfmapSramSzkB = {memory_kB}
FilterSramSzkB = {memory_kB}
OfmapSramSzkB = {memory_kB}
IfmapOffset = 0
FilterOffset = 100000000
OfmapOffset = 200000000
Dataflow = ws
Bandwidth = 10
ReadRequestBuffer = 32
WriteRequestBuffer = 32
MemoryBanks = 1
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""
# Holds every operand: its fastest, as it looks up each address among those that it holds.
MEMORY_KB = 16384


def run(rows: int, cols: int, M: int, K: int, N: int, folder: Path) -> tuple[float, int]:
    """Seconds that it took, and the total cycles it reports."""
    config, topology, layout = (
        folder / f"{n}" for n in ("scale.cfg", "gemm.csv", "lay.csv")
    )
    config.write_text(_CONFIG.format(rows=rows, cols=cols, memory_kB=MEMORY_KB))
    # Without the comma at the end it drops the last field.
    topology.write_text(f"Layer, M, N, K,\ngemm, {M}, {N}, {K},\n")
    layout.write_text("Layer,\ngemm," + " 1," * 20 + "\n")
    out = folder / "out"
    began = time.perf_counter()
    simulator = scalesim(
        save_disk_space=True,
        verbose=False,
        config=str(config),
        topology=str(topology),
        layout=str(layout),
        input_type_gemm=True,
    )
    simulator.run_scale(top_path=str(out))
    seconds = time.perf_counter() - began
    with (out / "run" / "COMPUTE_REPORT.csv").open() as file:
        row = next(csv.DictReader(file, skipinitialspace=True))
    return seconds, int(float(row["Total Cycles"]))


def main() -> None:
    rows, cols, M, K, N = (int(word) for word in sys.argv[1:])
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        run(rows, cols, 8, 8, 8, Path(small))
        seconds, cycles = run(rows, cols, M, K, N, Path(large))
    print(json.dumps({"seconds": seconds, "cycles": cycles}, sort_keys=True))


if __name__ == "__main__":
    main()
