"""The step-through page in a real browser: what a person sees is what the machine does.

Real keys and clicks in headless Chromium. Registers are read from the text on the
screen, and judged by the simulator's trace and by arithmetic that shifts nothing.
"""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from browser import Page, launched
from meetings import reference
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from accel.machines.machine import Systolic
from accel.show import step
from accel.simulate import trace

pytestmark = pytest.mark.browser

FLOWS = ("ws", "os", "is")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    with launched(tmp_path_factory.mktemp("page")) as opened:
        yield opened


@pytest.fixture
def lecture(page) -> Page:
    page.open(step.page([step.small_example(flow) for flow in FLOWS]))
    page.size(1200, "light")
    return page


def numbers(page: Page) -> None:
    page.at("numbers").click()


def follows(page: Page, machine: Systolic, x: np.ndarray, w: np.ndarray) -> None:
    """Steps through the whole run by key and compares every number on the screen."""
    run, judge = trace.record(machine, x, w), reference(machine, x, w)
    page.driver.find_element(By.TAG_NAME, "h1").click()
    page.press(Keys.HOME)
    assert page.edge() == 0
    assert set(np.array(page.shown("sum")).flat) == {"0"}
    for t, phase in enumerate(run.phases):
        page.press(Keys.ARROW_RIGHT)
        seen = page.moment()
        assert (seen["edge"], seen["phase"]) == (f"{t + 1} of {len(run.phases)}", phase)
        for name in ("weight", "input", "sum"):
            shown = np.array(seen[name]).astype(np.int64)
            np.testing.assert_array_equal(shown, run.registers[name][t], f"{name} {t}")
            np.testing.assert_array_equal(shown, judge[name][t], f"{name} {t}")
        working = np.isin(np.array(seen["states"]), ("work", "pad"))
        np.testing.assert_array_equal(working, run.registers["valid"][t])
    product = x.astype(np.int64) @ w.astype(np.int64)
    assert page.results() == [str(value) for value in product.flat]
    macs = product.size * len(w)
    assert page.text("macs") == f"{macs} of {macs}"
    share = macs / (len(run.phases) * machine.multipliers)
    assert page.text("utilization") == f"{100 * share:.1f} %"


@pytest.mark.parametrize("flow", FLOWS)
def test_an_embedded_example_shows_the_trace(lecture, flow):
    numbers(lecture)
    lecture.at(f"tab-{flow}").click()
    assert "the trace of Lockstep's simulator" in lecture.text("about")
    run = step.small_example(flow).trace
    follows(lecture, run.machine, np.asarray(run.x), np.asarray(run.w))


# rows, cols, M, K, N: ragged tiles, a single row or column.
RAGGED = {
    "ws": [(4, 3, 3, 2, 2), (1, 4, 2, 1, 3)],
    "os": [(4, 3, 2, 3, 2), (3, 1, 3, 2, 1)],
    "is": [(3, 4, 3, 2, 3), (1, 3, 2, 1, 2)],
}


@pytest.mark.parametrize("flow", FLOWS)
def test_an_edited_product_behaves_as_the_simulator(lecture, flow):
    numbers(lecture)
    lecture.at(f"tab-{flow}").click()
    for rows, cols, M, K, N in RAGGED[flow]:
        lecture.fill(lecture.at("rows"), rows, cols)
        lecture.fill(lecture.at("M"), M, K, N)
        draw = np.random.default_rng([rows, cols, M, K, N])
        x = draw.integers(0, 256, (M, K)).astype(np.uint8)
        w = draw.integers(-128, 128, (K, N)).astype(np.int8)
        for label, matrix in (("X", x), ("W", w)):
            lecture.fill(lecture.cell(f"{label} row 0 column 0"), *matrix.flat)
        assert lecture.text("problem") == ""
        assert "computed by this page's script" in lecture.text("about")
        follows(lecture, Systolic(rows=rows, cols=cols, dataflow=flow), x, w)


def test_a_cell_keeps_the_keyboard_while_it_is_edited(lecture):
    numbers(lecture)
    lecture.fill(lecture.cell("X row 0 column 0"), 42)
    label = lecture.driver.switch_to.active_element.get_attribute("aria-label")
    assert label == "X row 0 column 1"
    lecture.press("7", Keys.ENTER)
    # Keys that move through the text of a field do not move time.
    lecture.press(Keys.HOME, Keys.ARROW_RIGHT, " ")
    assert (lecture.edge(), lecture.text("play")) == (0, "▶ Play")
    lecture.at("last").click()
    assert lecture.results()[0] == str(42 * 1 + 7 * -4 + 3 * 3)


def test_names_instead_of_numbers(lecture):
    assert lecture.cell("W row 2 column 2").get_attribute("value") == "I"
    lecture.press(*[Keys.ARROW_RIGHT] * 6)
    assert lecture.shown("weight") == [list("ABC"), list("DEF"), list("GHI")]
    # Edge 6: the first result has just reached the bottom of column 0.
    assert lecture.shown("sum")[2][0] == "aA+bD+cG"
    assert lecture.shown("input")[0] == ["g", "d", "a"]
    assert "Y[0][0] = aA+bD+cG" in lecture.text("sentence")
    x, w = np.reshape(list("abcdefghi"), (3, 3)), np.reshape(list("ABCDEFGHI"), (3, 3))
    expected = ["+".join(x[m, k] + w[k, n] for k in range(3)) for m, n in np.ndindex(3, 3)]
    for flow in FLOWS:
        lecture.at(f"tab-{flow}").click()
        lecture.at("last").click()
        assert lecture.results() == expected
    lecture.cell("Array and matrices 8 by 8").click()
    lecture.at("last").click()
    assert set(lecture.results()) == {"8 terms"}


def test_keys_play_pause_step_and_jump(lecture):
    lecture.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert lecture.edge() == 1
    lecture.press(Keys.END)
    assert lecture.text("edge") == "10 of 10"
    lecture.press(Keys.ARROW_RIGHT)
    assert lecture.edge() == 10
    lecture.press(Keys.HOME, Keys.ARROW_LEFT)
    assert lecture.edge() == 0
    lecture.read("document.getElementById('speed').value = '8'")
    lecture.press(" ")
    assert lecture.text("play").endswith("Pause")
    assert lecture.at("sentence").get_attribute("aria-live") == "off"
    deadline = time.monotonic() + 10
    while lecture.edge() < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    lecture.press(" ")
    stopped = lecture.edge()
    assert 3 <= stopped < 10
    time.sleep(0.4)
    assert lecture.edge() == stopped
    assert lecture.at("sentence").get_attribute("aria-live") == "polite"
    lecture.press(" ")
    while lecture.edge() < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert lecture.text("edge") == "10 of 10"
    assert lecture.text("play").endswith("Play")


def test_the_slider_and_the_phases_choose_the_moment(lecture):
    slider = lecture.at("slider")
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert lecture.edge() == 2
    middle = ActionChains(lecture.driver).move_to_element(slider)
    middle.click_and_hold().move_by_offset(200, 0).release().perform()
    assert lecture.edge() == 7
    assert slider.get_attribute("aria-valuetext") == "edge 7 of 10, stream"
    bar = [one.text for one in lecture.at("phases").find_elements(By.TAG_NAME, "button")]
    assert bar == ["load 3", "fill 2", "stream 3", "drain 2"]
    lecture.driver.find_element(By.CSS_SELECTOR, "[data-phase=drain]").click()
    assert (lecture.edge(), lecture.text("phase")) == (9, "drain")


def test_a_chosen_pe_says_what_it_computes(lecture):
    numbers(lecture)
    lecture.press(*[Keys.ARROW_RIGHT] * 6)
    first = lecture.driver.find_element(By.CSS_SELECTOR, ".pe")
    first.click()
    lecture.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert lecture.edge() == 6, "arrows inside the array choose, they do not step"
    # x = 1, 2, 3 and w = 1, -4, 3: 1 - 8 from above, then 3 x 3.
    said = "PE (2, 0): sum ← -7 (from above) + 3 × 3 = 2"
    assert lecture.text("inspector") == said
    label = lecture.driver.switch_to.active_element.get_attribute("aria-label")
    assert label == "PE 2, 0: multiplies; input 3, weight 3, sum 2"


@pytest.mark.parametrize(
    ("label", "value", "rule"),
    [
        ("W row 0 column 0", "128", "W[0][0] (=128) must be a whole number, int8"),
        ("W row 1 column 2", "1.5", "W[1][2] (=1.5) must be a whole number"),
        ("X row 0 column 1", "256", "X[0][1] (=256) must be a whole number, int8"),
        ("X row 0 column 0", "", "X[0][0] (=) must be a whole number"),
    ],
)
def test_a_number_that_is_none_is_refused_and_changes_nothing(lecture, label, value, rule):
    numbers(lecture)
    lecture.at("last").click()
    before = lecture.results()
    cell = lecture.cell(label)
    lecture.fill(cell, value or Keys.DELETE)
    assert lecture.text("problem").startswith(rule)
    assert cell.get_attribute("aria-invalid") == "true"
    assert lecture.results() == before
    lecture.fill(cell, 5)
    assert lecture.text("problem") == ""
    assert lecture.results() != before


def test_inputs_of_both_kinds_at_once_and_sizes_out_of_range_are_refused(lecture):
    numbers(lecture)
    lecture.fill(lecture.cell("X row 0 column 0"), -1)
    lecture.fill(lecture.cell("X row 0 column 1"), 200)
    assert "int8 or uint8 throughout" in lecture.text("problem")
    for value in (0, 17, ""):
        lecture.fill(lecture.at("rows"), value or Keys.DELETE)
        assert "rows (=" in lecture.text("problem")
        assert lecture.at("rows").get_attribute("value") == "3"


def test_a_product_larger_than_the_array_shows_its_leading_tile(lecture):
    numbers(lecture)
    lecture.fill(lecture.at("rows"), 2)
    assert "larger than one tile" in lecture.text("about")
    run = step.small_example("ws").trace
    x, w = np.asarray(run.x)[:, :2], np.asarray(run.w)[:2]
    follows(lecture, Systolic(rows=2, cols=3), x, w)
    lecture.at("reset").click()
    assert "the trace of Lockstep's simulator" in lecture.text("about")


def test_a_dataflow_without_a_trace_is_computed_by_the_script(page):
    one = step.small_example("os", 2, 2)
    page.open(step.page([one]))
    page.at("tab-is").click()
    assert "computed by this page's script" in page.text("about")
    x, w = np.asarray(one.trace.x), np.asarray(one.trace.w)
    follows(page, Systolic(rows=2, cols=2, dataflow="is"), x, w)


def test_the_footer_says_that_both_agree(lecture):
    runs = [step.small_example(flow).trace for flow in FLOWS]
    cycles = sum(len(run.phases) for run in runs)
    said = f"agree on all {cycles * 9 * 4:,} registers of {cycles} cycles (3 traces"
    assert said in lecture.text("agreement")
    assert not lecture.at("alert").is_displayed()


@pytest.mark.parametrize(
    ("planted", "instead"),
    [
        # A skew register less, weights upside down, sums that start at 1, or never drain.
        ("shift(register, item ?", "shift(register.slice(1), item ?"),
        ("held[rows - edge]", "held[edge - 1]"),
        ("input[r][c].first ? ring.zero", "input[r][c].first ? 1"),
        ("draining ? above : accumulated", "accumulated"),
    ],
)
def test_a_faulty_script_is_found_out_when_the_page_opens(
    page, monkeypatch, planted, instead
):
    genuine = step.template
    assert genuine("step_array.js").count(planted) == 1
    monkeypatch.setattr(
        step, "template", lambda name: genuine(name).replace(planted, instead)
    )
    examples = [step.small_example(flow) for flow in FLOWS]
    page.open(step.page(examples))
    assert page.at("alert").is_displayed()
    assert "DISAGREE" in page.text("alert")
    assert "edge" in page.text("alert")


def test_one_wrong_register_of_a_trace_is_found_and_placed(page):
    run = step.small_example("os").trace
    wrong = {name: np.array(values) for name, values in run.registers.items()}
    wrong["sum"][6, 1, 2] += 1
    damaged = type(run)(**{**vars(run), "registers": wrong})
    page.open(step.page([step.Example(title="damaged", trace=damaged)]))
    right = run.registers["sum"][6, 1, 2]
    said = f"edge 7, sum of PE (1, 2): {right} in the script, {right + 1} in the simulator"
    assert said in page.text("alert")
    # The trace is what is shown.
    page.press(*[Keys.ARROW_RIGHT] * 7)
    assert page.shown("sum")[1][2] == str(right + 1)
