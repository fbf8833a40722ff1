"""Names of what a sweep knows of a design; for all of them less is better.

cycles, stall (cycles that the array waits), time_us (cycles * (1 / MHz), in
float64), energy (thousandths of the preset's
unit: fJ), edp (energy * time_us); compute (cycles of the array); bytes to and from DRAM by
operand and together; chip_bytes (read from and written to the buffers); area, a proxy:
multipliers + bytes of buffers and shadow registers; and the rates themselves.
"""

# Of a point.
POINT = ("cycles", "stall", "time_us", "energy", "edp")
# Of an array and its buffers, at any rate.
STRUCTURE = (
    "compute", "dram_inputs", "dram_weights", "dram_outputs", "dram_bytes", "chip_bytes",
    "area",
)  # fmt: skip
RATE = ("dram_mb_per_s", "clock_mhz")
METRICS = POINT + STRUCTURE + RATE
# What is whole, and below 2^53.
WHOLE = tuple(name for name in METRICS if name not in ("time_us", "edp"))
# Whose best value is kept for every array.
HEAT = ("time_us", "energy", "edp")
