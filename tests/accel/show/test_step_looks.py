"""The step-through page to the eye and to the keyboard, and what it may not do.

In headless Chromium: contrast in light and dark, narrow screens, focus, the policy.
"""

import time
from collections.abc import Iterator

import pytest
from browser import Page, launched
from selenium.webdriver.common.keys import Keys

from accel.show import step

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


def test_no_request_no_error_and_the_policy_holds(page):
    html = step.page([step.small_example(flow) for flow in FLOWS])
    page.open(html)
    page.press(*[Keys.ARROW_RIGHT] * 4)
    assert page.requests() == []
    assert page.driver.get_log("browser") == []
    planted = '<img src="https://example.invalid/x.png"><script>var planted = 1</script>'
    page.open(html.replace("</main>", f"{planted}</main>"))
    log = " ".join(one["message"] for one in page.driver.get_log("browser"))
    assert "Content Security Policy" in log
    assert page.read("typeof planted") == "undefined"
    assert page.requests() == []
    # Without the policy the request would have gone out: the log does show requests.
    bare = html.replace('http-equiv="Content-Security-Policy"', "")
    page.open(bare.replace("</main>", f"{planted}</main>"))
    assert page.requests() == ["https://example.invalid/x.png"]


def test_a_hostile_title_is_text(page):
    title = "</script><img src=x onerror='document.title = 1'><b>&amp;"
    run = step.small_example("ws", 2, 2).trace
    page.open(step.page([step.Example(title=title, trace=run)]))
    assert page.read("document.getElementById('source').value") == title
    assert page.read("document.getElementById('source').options[0].text") == title
    assert page.read("document.querySelectorAll('img, b:not(.legend b)').length") == 0
    assert page.driver.get_log("browser") == []


# Smallest ratio of contrast of any text, and whose: WCAG 2.2, 1.4.3.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (one) => {
  for (; one; one = one.parentElement) {
    const colour = parse(getComputedStyle(one).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  throw new Error("no opaque background");
};
let worst = [99, ""];
let count = 0;
for (const one of document.querySelectorAll("body *")) {
  const own = [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!(own || one.matches("input, select")) || !one.checkVisibility()) continue;
  if (one.closest("script, noscript, style, option")) continue;
  const pair = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort();
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  count += 1;
  if (ratio < worst[0]) worst = [ratio, one.className + " " + one.textContent.slice(0, 40)];
}
return [...worst, count];
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_is_readable(lecture, theme):
    lecture.size(1200, theme)
    time.sleep(0.2)
    for moment in (1, 7, 10):
        lecture.press(Keys.HOME, *[Keys.ARROW_RIGHT] * moment)
        time.sleep(0.2)
        ratio, whose, count = lecture.driver.execute_script(CONTRAST)
        assert count > 60
        assert ratio >= 4.5, whose
    lecture.read("document.documentElement.style.setProperty('--dim', '#808080')")
    time.sleep(0.2)
    assert lecture.driver.execute_script(CONTRAST)[0] < 4.5, "or it proves nothing"


def test_the_theme_follows_the_system_until_it_is_chosen(lecture):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = lecture.read(ground)
    lecture.size(1200, "dark")
    dark = lecture.read(ground)
    assert light != dark
    lecture.at("theme").click()
    assert (lecture.text("theme"), lecture.read(ground)) == ("Theme: light", light)
    lecture.at("theme").click()
    lecture.size(1200, "light")
    assert (lecture.text("theme"), lecture.read(ground)) == ("Theme: dark", dark)


def test_a_phone_scrolls_the_array_and_not_the_page(page):
    page.size(420, "light")
    page.open(step.page([step.small_example(flow, 16, 16) for flow in FLOWS]))
    wide = "document.documentElement.scrollWidth"
    assert page.read(wide) == 420
    inner = page.read("[scroll.scrollWidth, scroll.clientWidth, scroll.scrollLeft]".replace(
        "scroll.", "document.getElementById('scroll')."))  # fmt: skip
    assert inner[0] > inner[1]
    assert inner[2] > 0, "it opens with the array in sight"
    page.size(1200, "light")
    assert page.read(wide) == 1200


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(lecture):
    numbers(lecture)
    lecture.at("forward").click()
    controls = lecture.read(
        "[...document.querySelectorAll('button, select, input')].filter(one =>"
        " !one.disabled && one.tabIndex >= 0).length"
    )
    lecture.read("document.activeElement.blur()")
    seen, unnamed = set(), []
    for _ in range(controls + 12):
        lecture.press(Keys.TAB)
        tag, where, name, outline = lecture.read(
            "(one => [one.tagName, [...document.querySelectorAll('*')].indexOf(one),"
            " one.getAttribute('aria-label') || one.innerText ||"
            " one.labels?.[0]?.innerText,"
            " getComputedStyle(one).outlineStyle])(document.activeElement)"
        )
        if tag in ("BUTTON", "SELECT", "INPUT"):
            seen.add(where)
            assert outline == "solid", (tag, name)
            if not (name or "").strip():
                unnamed.append(where)
    assert unnamed == []
    assert len(seen) == controls
