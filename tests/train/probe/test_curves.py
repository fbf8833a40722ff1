"""Charts of robustness show the counts they are given, and say what they are."""

import numpy as np
import pytest

from figures import caption, coloured, is_whole, pixels
from train.plots import BLUE, GREEN, ORANGE
from train.probe.binomial import interval
from train.probe.curves import eps_curve, lines, polar, styles

CURVE = [(0.0, 990, 1000), (0.1, 700, 1000), (0.3, 0, 1000)]
WORDS = {"name": "run", "attack": "PGD-40 x 10", "certificate": "interval bounds"}
LONG = "the rather long name of a model"


def turned(shift=0):
    return [(angle, 300 + shift + abs(angle), 1000) for angle in range(-180, 181, 15)]


def bars(axes):
    """(x, low, high) of every error bar, by line."""
    return [
        [(x, low, high) for (x, low), (_, high) in container[2][0].get_segments()]
        for container in axes.containers
    ]


def test_lines_and_bars_are_the_shares_and_their_intervals():
    figure = eps_curve({"float": CURVE[::-1]}, {}, {}, **WORDS)
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [0, 0.1, 0.3])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.99, 0.7, 0])
    expected = [(eps, *interval(correct, n)) for eps, correct, n in CURVE]
    np.testing.assert_allclose(bars(axes), [expected])
    assert is_whole(figure)


def test_each_kind_with_points_has_a_panel_and_a_sentence():
    both = {"float": CURVE, "int8": [(0.1, 60, 100)]}
    figure = eps_curve(both, {"int8": CURVE}, {"float": CURVE, "qat": []}, **WORDS)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["FGSM", "Worst of all attacks", "Certified"]
    text = caption(figure)
    assert "in L-infinity norm (eps x 255 rounded down is the budget in pixel" in text
    assert "FGSM: 1 step; n = 100 to 1,000." in text
    assert "Worst of all attacks, per image: PGD-40 x 10; n = 1,000." in text
    assert "Certified: proved by interval bounds, no attack" in text
    text = caption(eps_curve({"int8": CURVE}, {}, {}, norm="l2", **WORDS))
    assert "in L2 norm, pixels 0 to 1." in text
    assert "Certified" not in text
    assert "Worst" not in text


def test_no_points_at_all_are_refused():
    with pytest.raises(ValueError, match="hold no point; give at least one"):
        eps_curve({}, {"float": []}, {}, **WORDS)


def test_models_that_coincide_are_all_seen():
    same = {"float": CURVE, "qat": CURVE, "int8": CURVE}
    drawn = pixels(eps_curve(same, {}, {}, **WORDS))
    # Within the panel, without the legend below it.
    panel = drawn[: int(0.8 * len(drawn))]
    for colour in (BLUE, GREEN, ORANGE):
        assert coloured(panel, colour) > 100


def test_a_model_keeps_its_colour_whoever_is_beside_it():
    looks = styles(["int8", "mine", "float", "qat"])
    assert [looks[m].colour for m in ("float", "qat", "int8")] == [BLUE, GREEN, ORANGE]
    assert looks["mine"].colour not in (BLUE, GREEN, ORANGE)
    assert styles(["int8"])["int8"].colour == ORANGE
    assert len({(look.marker, look.line) for look in looks.values()}) > 2
    networks = styles(["mnist_mlp", "mnist_cnn", "mnist_cnn_gap"]).values()
    assert len({look.colour for look in networks} | {BLUE, GREEN, ORANGE}) == 6
    assert len({look.marker for look in networks}) == 3


@pytest.mark.parametrize("points", [CURVE[:1], CURVE[:2], [(2.0, 3, 3)]])
@pytest.mark.parametrize("names", [["float"], [str(i) + LONG for i in range(7)]])
def test_few_points_and_many_names_stay_on_the_page(points, names):
    rows = dict.fromkeys(names, points)
    (legend,) = eps_curve(rows, {}, {}, **WORDS).legends
    assert len(legend.get_texts()) == len(names)
    for figure in (
        eps_curve(rows, {}, rows, **WORDS),
        lines(rows, rows, name=LONG, direction="right"),
        polar(dict(list(rows.items())[:3]), name=LONG),
    ):
        assert is_whole(figure)


def test_angles_turn_counter_clockwise_from_the_top():
    figure = polar({"float": [(0, 8, 10), (90, 8, 10), (180, 8, 10)]}, name="run")
    pixels(figure)
    axes, line = figure.axes[0], figure.axes[0].lines[0]
    centre = axes.transData.transform((0, 0))
    places = axes.transData.transform(line.get_xydata()) - centre
    radius = places[0, 1]
    expected = [[0, radius], [-radius, 0], [0, -radius]]
    np.testing.assert_allclose(places, expected, atol=1e-6 * radius)
    assert radius > 50


def test_the_table_beside_the_circle_names_both_signs():
    figure = polar({"float": turned(), "int8": turned(100)}, name="run")
    table = figure.axes[1]
    texts = {text.get_position(): text.get_text() for text in table.texts}
    cells = {x: [texts[k] for k in sorted(texts, key=lambda k: k[1]) if k[0] == x]
             for x in (-0.25, 0.7, 1.7)}  # fmt: skip
    assert cells[-0.25][:5] == ["0°", "+15°", "−15°", "+30°", "−30°"]
    assert cells[0.7][:3] == ["float", "30.0%", "31.5%"]
    assert cells[1.7][-1] == "58.0%"
    text = caption(figure)
    assert "n = 1,000; bilinear" in text
    assert "positive angles are counter-clockwise" in text
    assert is_whole(figure)


def test_the_table_leaves_out_what_was_not_measured():
    figure = polar({"float": [(-15, 1, 2)], "int8": [(30, 1, 4), (7, 1, 1)]}, name="run")
    texts = [text.get_text() for text in figure.axes[1].texts]
    assert texts == ["float", "50.0%", "–", "int8", "–", "25.0%", "−15°", "+30°"]


def test_networks_share_their_look_in_both_panels():
    shifts = [(px, 100 - px * px, 100) for px in range(-6, 7)]
    translation = {name: shifts for name in ("mnist_mlp", "gap", "mnist_cnn")}
    rotation = {"mnist_cnn": turned(), "mnist_mlp": turned(100)}
    figure = lines(translation, rotation, name="MNIST", direction="down")
    first, second = figure.axes
    colours = [
        {c.get_label(): c.lines[0].get_color() for c in axes.containers}
        for axes in (first, second)
    ]
    assert colours[0].items() > colours[1].items()
    assert len(set(colours[0].values())) == 3
    assert first.get_xlabel() == "shift down, pixels"
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["mnist_mlp", "gap", "mnist_cnn"]
    np.testing.assert_allclose(
        second.containers[1].lines[0].get_ydata(), [k / n for _, k, n in turned(100)]
    )
    text = caption(figure)
    assert "shifted (n = 100) or turned about their centre (n = 1,000)" in text
    assert is_whole(figure)
