"""The paper's rows, typed a second time, and what they have to add up to."""

import pytest

from accel.tpu.paper import paper
from configs.registry import load_network

# Table 3 column by column: rows 1 to 9; then table 7.
_COLUMNS = {
    "MLP0": (12.7, 12.5, 0.3, 53.9, 15.9, 17.5, 3.3, 6.1, 12.3, 6.8),
    "MLP1": (10.6, 9.4, 1.2, 44.2, 13.4, 31.9, 8.4, 8.8, 9.7, 10.9),
    "LSTM0": (8.2, 8.2, 0.0, 58.1, 15.8, 17.9, 14.6, 5.1, 3.7, 7.7),
    "LSTM1": (10.5, 6.3, 4.2, 62.1, 17.1, 10.3, 10.6, 2.4, 2.8, 5.4),
    "CNN0": (78.2, 78.2, 0.0, 0.0, 0.0, 21.8, 3.5, 3.4, 86.0, 8.2),
    "CNN1": (46.2, 22.5, 23.7, 28.1, 7.0, 18.7, 22.8, 0.6, 14.1, 11.2),
}
_FIELDS = (
    "active", "useful", "unused", "weight_stall", "weight_shift", "non_matrix",
    "raw_stall", "input_stall", "tops", "model_error",
)  # fmt: skip


def test_columns_of_table_3():
    found = {
        app.name: tuple(getattr(app, name).value for name in _FIELDS) for app in paper.APPS
    }
    assert found == _COLUMNS


@pytest.mark.parametrize("app", paper.APPS, ids=lambda app: app.name)
def test_rows_are_consistent(app):
    """Rows 1, 4, 5 and 6 are all cycles; rows 2 and 3 are row 1, to their rounding."""
    rows = (app.active, app.weight_stall, app.weight_shift, app.non_matrix)
    assert sum(row.value for row in rows) == pytest.approx(100, abs=0.1 + 1e-9)
    split = app.useful.value + app.unused.value
    assert split == pytest.approx(app.active.value, abs=0.1 + 1e-9)


def test_means_of_the_last_column():
    """Row 9 has the arithmetic mean 21.4, table 7 has 8 %."""
    mean = sum(app.tops.value for app in paper.APPS) / 6
    assert round(mean, 1) == 21.4
    errors = sum(app.model_error.value for app in paper.APPS) / 6
    assert round(errors) == paper.MODEL_MEAN_ERROR.value


@pytest.mark.parametrize("app", paper.APPS, ids=lambda app: app.name)
def test_networks_have_the_published_weights(app):
    """Within 4 %: the shapes are assumed, the sums are not."""
    network = load_network(app.config)
    assert network.weights == pytest.approx(app.weights.value, rel=0.04)
    reuse = app.batch.value * network.macs / network.weights
    assert reuse == pytest.approx(app.macs_per_weight_byte.value, rel=0.03)


def test_declared_tiles():
    """round(weights / (65,536 * row 2 / row 1))."""
    tiles = {app.name: app.tiles(65536) for app in paper.APPS}
    assert tiles == {
        "MLP0": 310, "MLP1": 86, "LSTM0": 793, "LSTM1": 865, "CNN0": 122, "CNN1": 3133
    }  # fmt: skip


def test_numbers_say_where_they_stand():
    """All are read in the paper but half speed (assumed) and the fill (derived)."""
    for app in paper.APPS:
        status = {getattr(app, name).status for name in (*_FIELDS, "weights", "batch")}
        assert status == {"confirmed"}
        assert app.fill.status == "derived"
        assert app.speed.status == ("assumed" if "LSTM" in app.name else "confirmed")


def test_app_by_name():
    assert paper.app("mlp0") is paper.app("tpu_mlp0") is paper.app("MLP0") is paper.APPS[0]
    assert paper.app("vgg16") is None


def test_deployed_shares_are_those_of_pairs():
    assert sum(app.deployed.value for app in paper.APPS[::2]) == 95


def test_table_4():
    rows = {
        (r.die, r.batch): (r.response_ms.value, r.per_second.value) for r in paper.TABLE_4
    }
    assert rows == {
        ("CPU", 16): (7.2, 5482), ("CPU", 64): (21.3, 13194), ("GPU", 16): (6.7, 13461),
        ("GPU", 64): (8.3, 36465), ("TPU", 200): (7.0, 225000),
        ("TPU", 250): (10.0, 280000),
    }  # fmt: skip
    largest = {row.die: row.per_second.value for row in paper.TABLE_4}
    for row in paper.TABLE_4:
        percent = 100 * row.per_second.value / largest[row.die]
        assert percent == pytest.approx(row.of_largest.value, abs=1)
