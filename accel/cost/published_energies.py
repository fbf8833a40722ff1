"""Published energies as they stand in their tables: no choice is made here.

45 nm: Horowitz, "Computing's energy problem", ISSCC 2014. 7 nm: Jouppi et al., "Ten lessons
from three generations shaped Google's TPUv4i", ISCA 2021, Table 2. Memories are given per
access of 64 bits (DRAM at 45 nm: 32 bits). KB and MB are 1024 and 1024^2 bytes.
"""

from __future__ import annotations

from accel.machines.provenance import Provenance, Status

_HOROWITZ = "Horowitz, ISSCC 2014 (45 nm)"
_SURVEY = f"{_HOROWITZ}, as in Gholami et al., quantization survey, Fig. 15"
_TPUV4I = "Jouppi et al., ISCA 2021, Table 2 (7 nm)"
_EYERISS = "Chen et al., Eyeriss, ISCA 2016, Table IV (65 nm)"
_ZIGZAG = "zigzag-dse 3.9.1, shipped hardware file tpu_like"
_TPU_V1 = "Jouppi et al., ISCA 2017 (28 nm)"

KB, MB = 1 << 10, 1 << 20


def _pj(value: float, source: str, status: Status = "confirmed") -> Provenance:
    return Provenance(value=value, unit="pJ", source=source, status=status)


def _alu(value: float) -> Provenance:
    return Provenance(value=value, unit="ALU ops", source=_EYERISS, status="confirmed")


def _watt(value: float, what: str) -> Provenance:
    source = f"{_TPU_V1}, {what}"
    return Provenance(value=value, unit="W", source=source, status="confirmed")


# One operation, pJ.
OPERATIONS_45NM = {
    "int8_add": _pj(0.03, _SURVEY),
    "int32_add": _pj(0.1, _SURVEY),
    "int8_multiply": _pj(0.2, _SURVEY),
    "int32_multiply": _pj(3.1, _SURVEY),
    "fp16_add": _pj(0.4, _SURVEY),
    "fp16_multiply": _pj(1.1, _SURVEY),
    "fp32_add": _pj(0.9, _SURVEY),
    "fp32_multiply": _pj(3.7, _SURVEY),
}
OPERATIONS_7NM = {
    "int8_add": _pj(0.007, _TPUV4I, "recalled"),
    "int32_add": _pj(0.03, _TPUV4I),
    "int8_multiply": _pj(0.07, _TPUV4I),
    "int32_multiply": _pj(1.48, _TPUV4I, "recalled"),
    "fp16_add": _pj(0.16, _TPUV4I, "recalled"),
    "fp16_multiply": _pj(0.34, _TPUV4I),
    "fp32_add": _pj(0.38, _TPUV4I, "recalled"),
    "fp32_multiply": _pj(1.31, _TPUV4I),
    "bf16_add": _pj(0.11, _TPUV4I, "recalled"),
    "bf16_multiply": _pj(0.21, _TPUV4I, "recalled"),
}

# One access of 64 bits to an SRAM of so many bytes, pJ.
SRAM_45NM = {
    8 * KB: _pj(10, _HOROWITZ),
    32 * KB: _pj(20, _HOROWITZ),
    1 * MB: _pj(100, _HOROWITZ),
}
SRAM_7NM = {
    8 * KB: _pj(7.5, _TPUV4I),
    32 * KB: _pj(8.5, _TPUV4I),
    1 * MB: _pj(14, _TPUV4I),
}

# One access of 32 bits.
DRAM_45NM = _pj(640, _HOROWITZ)
# One access of 64 bits, from .. to.
DRAM_7NM = {
    "DDR3/4": (_pj(1300, _TPUV4I), _pj(1300, _TPUV4I)),
    "HBM2": (_pj(250, _TPUV4I), _pj(450, _TPUV4I)),
    "GDDR6": (_pj(350, _TPUV4I), _pj(480, _TPUV4I)),
}

# Relative to one 16-bit multiply-accumulate; memories move one 16-bit word.
EYERISS_65NM = {
    "alu": _alu(1),
    # The 0.5 KB register file of a processing element.
    "register": _alu(1),
    "neighbour": _alu(2),
    # The global buffer, larger than 100 KB.
    "buffer": _alu(6),
    "dram": _alu(200),
}

# The first of the file's two figures where it gives one for either direction.
ZIGZAG_TPU_LIKE = {
    "mac": _pj(0.04, _ZIGZAG),
    # 16 bits of a register of 2 bytes.
    "register": _pj(0.021, _ZIGZAG),
    # 2048 bits of an SRAM of 2 MB.
    "sram_2mb": _pj(416, _ZIGZAG),
    # 64 bits.
    "dram": _pj(700, _ZIGZAG),
}

# Whole TPU v1 die: without work, and at its busiest (CNN0).
TPU_V1_IDLE = _watt(28, "idle power of a die")
TPU_V1_BUSY = _watt(40, "busy power of a die (CNN0)")
