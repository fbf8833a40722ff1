"""What the TPU paper publishes, row by row, and what we declare beside it.

Every number has its table and status. Shapes are not published: the networks are built by
one rule in `configs/tpu_apps.py`.

Reference: Jouppi et al., "In-Datacenter Performance Analysis of a Tensor Processing
Unit", ISCA 2017, arXiv 1704.04760.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.machines.provenance import Provenance

_PAPER = "TPU paper (arXiv 1704.04760)"


def _read(value: int | float, unit: str, where: str) -> Provenance:
    return Provenance(
        value=value, unit=unit, source=f"{_PAPER}, {where}", status="confirmed"
    )


@dataclass(frozen=True, kw_only=True)
class App:
    """One of the six applications: published figures and declared inputs."""

    name: str
    # Network of `configs` with the assumed shapes.
    config: str
    # Table 1.
    weights: Provenance
    batch: Provenance
    macs_per_weight_byte: Provenance
    # Share of deployed TPU work, together with the other application of its kind.
    deployed: Provenance
    # Table 3: percent of all cycles, rows 1 to 8, and row 9.
    active: Provenance
    useful: Provenance
    unused: Provenance
    weight_stall: Provenance
    weight_shift: Provenance
    non_matrix: Provenance
    raw_stall: Provenance
    input_stall: Provenance
    tops: Provenance
    # Table 7: how far Google's own model was from the counters.
    model_error: Provenance
    # Declared: cycles a row of activations.
    speed: Provenance

    @property
    def fill(self) -> Provenance:
        """Part of the active tiles that holds weights: row 2 / row 1. Declared."""
        return Provenance(
            value=self.useful.value / self.active.value,
            unit="",
            source=f"{_PAPER}, table 3, row 2 / row 1",
            status="derived",
        )

    def tiles(self, tile_bytes: int) -> int:
        """Tiles of the application at its declared fill: round(weights / (tile * fill))."""
        return round(self.weights.value / (tile_bytes * self.fill.value))


_FULL = Provenance(
    value=1,
    unit="cycles a row",
    source=f"{_PAPER}, section 2: 8-bit activations and weights",
    status="confirmed",
)
# Counters and TOPS of both LSTMs differ by 2.03 and 2.06, and agree with this.
_HALF = Provenance(
    value=2,
    unit="cycles a row",
    source="hypothesis: LSTMs ran with 16-bit activations, at half speed",
    status="assumed",
)
_ROWS = (
    "active", "useful", "unused", "weight_stall", "weight_shift", "non_matrix",
    "raw_stall", "input_stall",
)  # fmt: skip


def _app(
    name: str,
    table_1: tuple[int, int, int, int],
    table_3: tuple[float, ...],
    tops: float,
    model_error: float,
    speed: Provenance = _FULL,
) -> App:
    weights, batch, reuse, deployed = table_1
    rows = {
        row: _read(value, "%", f"table 3, row {number}")
        for number, (row, value) in enumerate(zip(_ROWS, table_3, strict=True), 1)
    }
    return App(
        name=name,
        config=f"tpu_{name.lower()}",
        weights=_read(weights, "weights", "table 1"),
        batch=_read(batch, "inferences", "table 1"),
        macs_per_weight_byte=_read(reuse, "MAC/B", "table 1"),
        deployed=_read(deployed, "%", "table 1, of both applications of a kind"),
        tops=_read(tops, "TOPS", "table 3, row 9"),
        model_error=_read(model_error, "%", "table 7"),
        speed=speed,
        **rows,
    )


APPS = (
    _app(
        "MLP0", (20_000_000, 200, 200, 61),
        (12.7, 12.5, 0.3, 53.9, 15.9, 17.5, 3.3, 6.1), 12.3, 6.8,
    ),
    _app(
        "MLP1", (5_000_000, 168, 168, 61),
        (10.6, 9.4, 1.2, 44.2, 13.4, 31.9, 8.4, 8.8), 9.7, 10.9,
    ),
    _app(
        "LSTM0", (52_000_000, 64, 64, 29),
        (8.2, 8.2, 0.0, 58.1, 15.8, 17.9, 14.6, 5.1), 3.7, 7.7, _HALF,
    ),
    _app(
        "LSTM1", (34_000_000, 96, 96, 29),
        (10.5, 6.3, 4.2, 62.1, 17.1, 10.3, 10.6, 2.4), 2.8, 5.4, _HALF,
    ),
    _app(
        "CNN0", (8_000_000, 8, 2888, 5),
        (78.2, 78.2, 0.0, 0.0, 0.0, 21.8, 3.5, 3.4), 86.0, 8.2,
    ),
    _app(
        "CNN1", (100_000_000, 32, 1750, 5),
        (46.2, 22.5, 23.7, 28.1, 7.0, 18.7, 22.8, 0.6), 14.1, 11.2,
    ),
)  # fmt: skip

# The others follow from the one number that is fitted to the first.
FITTED, HELD_TO_10_PERCENT = "MLP0", ("MLP0", "MLP1", "LSTM0")
MODEL_MEAN_ERROR = _read(8, "%", "table 7, mean")

# Section 7: matrices of 600 x 600 on arrays of 256 and of 512.
STEPS_256, TIME_256 = (
    _read(9, "tiles", "section 7"),
    _read(18, "us", "section 7, 600 x 600"),
)
STEPS_512, TIME_512 = (
    _read(4, "tiles", "section 7"),
    _read(32, "us", "section 7, 600 x 600"),
)
# Figure 11, mean over the applications; ours are printed as three means.
MEMORY_X4 = _read(3, "x", "figure 11, memory bandwidth x 4, about")
RIDGE = _read(1350, "MAC/B", "section 4")


@dataclass(frozen=True, kw_only=True)
class Served:
    """Table 4, MLP0 under load: 99th percentile of response time and throughput."""

    die: str
    batch: int
    response_ms: Provenance
    per_second: Provenance
    # Percent of the largest throughput of that die.
    of_largest: Provenance


def _served(die: str, batch: int, ms: float, per_second: int, percent: int) -> Served:
    return Served(
        die=die,
        batch=batch,
        response_ms=_read(ms, "ms", "table 4"),
        per_second=_read(per_second, "inferences/s", "table 4"),
        of_largest=_read(percent, "%", "table 4"),
    )


TABLE_4 = (
    _served("CPU", 16, 7.2, 5_482, 42),
    _served("CPU", 64, 21.3, 13_194, 100),
    _served("GPU", 16, 6.7, 13_461, 37),
    _served("GPU", 64, 8.3, 36_465, 100),
    _served("TPU", 200, 7.0, 225_000, 80),
    _served("TPU", 250, 10.0, 280_000, 100),
)
LIMIT_MS = _read(7, "ms", "table 4, 99th percentile")


def app(name: str) -> App | None:
    """The application of that name ("mlp0", "tpu_mlp0", "MLP0"), if it is one."""
    wanted = name.lower()
    return next((a for a in APPS if wanted in (a.name.lower(), a.config)), None)
