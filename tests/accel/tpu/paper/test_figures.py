"""Published and ours, side by side."""

import json

import pytest

from accel.tpu.paper import calibration, paper
from accel.tpu.paper.figures import figures


@pytest.fixture(scope="module")
def found():
    return figures()


def test_every_application_by_declared_tiles_and_by_shapes(found):
    """The numbers are those of the fit, the errors those of the numbers."""
    assert list(found["apps"]) == [app.name for app in paper.APPS]
    mlp1 = found["apps"]["MLP1"]
    ours = calibration.predict(paper.app("MLP1"), calibration.fitted_machine())
    assert mlp1["declared"]["tops"]["ours"] == ours.tops
    assert (mlp1["declared"]["tiles"], mlp1["shapes"]["tiles"]) == (86, 100)
    for app in found["apps"].values():
        tops = app["declared"]["tops"]
        error = 100 * (tops["ours"] / tops["published"] - 1)
        assert tops["error_percent"] == pytest.approx(error)
        assert app["declared_inputs"]["fill"]["status"] == "derived"


def test_means(found):
    """The published one is the last column of table 3; CNNs weigh little where deployed."""
    means = found["mean_tops"]
    assert round(means["arithmetic"]["published"], 1) == 21.4
    assert means["deployed"]["ours"] < means["arithmetic"]["ours"]


def test_what_ifs(found):
    """Memory x 4 about x 3 on the mean; clock x 4 for CNNs alone; 512 x 512 slower."""
    what = found["what_if"]
    assert round(what["memory_x4"]["arithmetic"]) == 3
    clock = what["clock_x4"]["speedups"]
    assert [name for name, times in clock.items() if times > 1.01] == ["CNN0", "CNN1"]
    assert 0.9 < what["array_512"]["arithmetic"] < 1


def test_matrices(found):
    for machine in ("peak", "fitted"):
        squares = found["matrix_600"][machine]
        assert (squares["256"]["tiles"], squares["512"]["tiles"]) == (9, 4)
        assert squares["512"]["time_us"] > squares["256"]["time_us"]


def test_it_is_json(found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
