"""report.html says what report.json says, whatever the names in it, and asks for nothing.

The page is parsed as a browser would: balanced, every figure in its text, no script, no
address, hostile names inert. In headless Chromium: the policy is kept, and a phone does
not scroll sideways.
"""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from browser import launched
from reports import MISMATCH, compare, report, walk

from accel.machines.counters import FETCHES, PHASES
from accel.machines.machine import Mac, Systolic
from accel.show import page
from train.probe.rows import row


def probed(model: str = "float", flag: str = "doubtful") -> dict:
    """A probes.json of one network: as it is, attacked, and its headline."""
    attack = {"eps": 0.1, "levels": 25, "attack": "PGD-40 CE", "tries": 1, "steps": 41}
    rows = [row(model, "clean", 8, 8), row(model, "attack", 5, 8, **attack)]
    rows.append(row(model, "headline", 5, 8, eps=0.1))
    return {
        "models": {model: {}},
        "rows": rows,
        "flags": [{"model": model, "flag": flag}],
    }


PROBES = {"train": probed()}


HOSTILE = (
    """<script>alert(1)</script>"'><img src=//x.invalid/y onerror=z> & &lt; ]]> </svg>"""
)


def html(made=None, *, shown=None, compared=None, probes=None, href=None) -> str:
    return page.report(
        made or report(),
        flow=shown,
        compare=compared,
        probes=probes or {},
        step_href=href,
    )


def full(made=None) -> str:
    others = compare(Systolic(), Mac(), Mac(dram=True, access_cycles=10))
    return html(made, shown=walk(), compared=others, probes=PROBES, href="step.html")


class Parsed(HTMLParser):
    """Elements, attributes and text; refuses an element that closes out of turn."""

    VOID = ("meta", "img", "link", "br", "hr", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.elements, self.pieces = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], self.open
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.pieces.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_parser_itself_refuses_what_is_not_balanced():
    with pytest.raises(AssertionError):
        Parsed("<p><b></p></b>")
    with pytest.raises(AssertionError):
        Parsed("<p>")


def test_it_is_whole_and_asks_for_nothing():
    text = full()
    parsed = Parsed(text)
    assert not re.search(r"\b(https?|ftp|file|wss?):", text)
    for tag, attributes in parsed.elements:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        assert not [name for name in attributes if name == "style" or name[:2] == "on"]
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
    assert [one["href"] for one in parsed.all("a")] == ["step.html"]
    ids = [one["id"] for _, one in parsed.elements if "id" in one]
    assert len(ids) == len(set(ids))
    named = [
        one["aria-labelledby"] for _, one in parsed.elements if "aria-labelledby" in one
    ]
    assert {name for names in named for name in names.split()} <= set(ids)
    assert all("scope" in one for one in parsed.all("th"))
    assert all(one.get("alt") for one in parsed.all("img"))
    for head, (after, _) in zip(parsed.elements, parsed.elements[1:], strict=False):
        if head[0] == "svg" and head[1].get("role") == "img":
            assert after == "title"


def test_the_policy_names_the_style_sheet_and_lets_no_script_in():
    text = html()
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = Parsed(text).all("meta")[1]["content"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy


def test_every_figure_of_the_report_is_on_the_page():
    made = report()
    text = Parsed(full(made)).text
    told = [made[key] for key in ("total_cycles", "macs", "idle", "images", "multipliers")]
    told += [made["phases"][phase] for phase in PHASES]
    keys = ("tiles", "cycles_simulated", "cycles_closed_form", "macs", "compared", *FETCHES)
    for one in made["layers"]:
        assert f"{one['name']} {one['M']:,} × {one['K']:,} × {one['N']:,}" in text
        told += [one[key] for key in keys] + list(one["phases"].values())
        assert f"{100 * one['utilization']:.1f} %" in text
    for number in told:
        assert number == 0 or re.search(rf"(?<![\d,]){number:,}(?![\d,])", text), number
    for words in ("13,316", "9,274", "123.5 MHz", "97.25 %", "91.75 %", "20.7 %"):
        assert words in text
    for words in (
        "Reading the images.",
        "Pooling.",
        "python -m accel verify",
        "0.10.2",
        "17",
    ):
        assert words in text
    assert "eps 0.1 (25 levels) PGD-40 CE 41 evaluations 8 62.5" in text
    assert "eps 0.1 WORST OF ALL every attack 8 62.5 (24.5..91.5)" in text
    assert "Flag: float: doubtful." in text
    assert "✓ VERIFIED" in text


def test_each_figure_has_a_place_of_its_own():
    made, others, number = report(), compare(Systolic(), Mac()), 1_234_567
    counts = ("tiles", "cycles_simulated", "cycles_closed_form", "macs", "compared")
    places = [(made, key) for key in ("total_cycles", "macs", "idle", "images_per_s")]
    places += [(made["phases"], phase) for phase in PHASES]
    for one in made["layers"]:
        places += [(one, key) for key in (*counts, *FETCHES, "stepped", "M", "K", "N")]
        places += [(one["phases"], phase) for phase in PHASES]
    keys = ("multipliers", "cycles_per_image", "images_per_s", *FETCHES)
    places += [(one, key) for one in others["machines"] for key in keys]
    for place, key in places:
        number += 1_234_577
        # Beyond what was simulated, what was stepped is "all".
        place[key] = number if key != "stepped" else number % 1_234_567
    text = Parsed(html(made, compared=others)).text
    missing = [(key, place[key]) for place, key in places if f"{place[key]:,}" not in text]
    assert missing == []


def test_what_is_only_predicted_is_said():
    made = report()
    made["layers"][1]["stepped"] = 123
    text = Parsed(html(made)).text
    whole = made["total_cycles"]
    stepped = whole - made["layers"][1]["cycles_simulated"] + 123
    assert f"Of {whole:,} cycles, {stepped:,} were stepped, register by register;" in text
    assert f"the other {whole - stepped:,} are only predicted" in text
    assert "all were stepped" not in text
    assert "What was stepped of each layer took exactly the cycles" in text
    assert "all were stepped" in Parsed(html()).text


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made["layers"][1].update(mismatches=37),
        lambda made: made["layers"][1].update(cycles_closed_form=11),
        lambda made: made.update(verified=False),
    ],
)
def test_one_thing_wrong_and_the_page_does_not_say_verified(spoil):
    made = report()
    spoil(made)
    parsed = Parsed(html(made))
    assert "✗ NOT VERIFIED" in parsed.text
    assert "✓" not in parsed.text
    assert "not verified" in parsed.text
    assert any("verdict bad" in one.get("class", "") for one in parsed.all("section"))


def test_what_is_wrong_is_said_where_it_is():
    made = report(verified=False, mismatch=MISMATCH)
    made["layers"][1].update(mismatches=37)
    made["layers"][2].update(cycles_closed_form=11)
    text = Parsed(html(made)).text
    assert "37 of 774,400 values of layer conv2 differ" in text
    assert "Layer dense1 took 940,000 cycles; its closed form says 11." in text
    assert "≠ 11" in text
    assert "Found −12,345 Expected 678" in text
    assert "sum of row 5, column 6, at cycle 131" in text
    assert "−77, not −76" in text
    assert "A weight register is wrong." in text
    assert "cycle 130 131 r5 c6 -2 -77" in text
    unlocated = MISMATCH | dict.fromkeys(("cycle", "row", "col", "register"))
    text = Parsed(html(report(verified=False, mismatch=unlocated))).text
    assert "First wrong register" not in text
    assert "Found −12,345" in text


def test_what_is_not_given_is_left_out():
    parts = (
        "logarithmic",
        "One image",
        "Probes",
        "Step through",
        "first value that differs",
    )
    text, bare = Parsed(full()).text, Parsed(html(report(accuracy=None))).text
    assert [part in text for part in parts] == [True] * 4 + [False]
    assert [part in bare for part in parts] == [False] * 5
    assert "Accuracy" in text
    assert "ccura" not in bare
    assert "None" not in text + bare
    made = report()
    del made["command"], made["seed"]
    Parsed(html(made))
    Parsed(html(compared={"machines": []}))


def renamed(made: dict, text: str) -> dict:
    """Every string of a report that comes from outside, with `text` behind it."""
    if isinstance(made, dict):
        return {key: renamed(value, text) for key, value in made.items()}
    if isinstance(made, list):
        return [renamed(value, text) for value in made]
    return made + text if isinstance(made, str) else made


def test_hostile_names_are_text_and_nothing_else():
    def build(tail: str) -> str:
        made = report(verified=False, mismatch=MISMATCH)
        # What these choose is one of a few words and never shown as it came.
        made = {**renamed(made, tail), "settings": made["settings"]}
        made["versions"] = {"x" + tail: tail}
        others = renamed(compare(Systolic(), Mac()), tail)
        shown = walk("seven" + tail)
        shown = shown._replace(layers=[(n + tail, *rest) for n, *rest in shown.layers])
        probes = {"train" + tail: probed("float" + tail, "doubtful" + tail)}
        return html(made, shown=shown, compared=others, probes=probes, href="step" + tail)

    tame, hostile = Parsed(build("x" * len(HOSTILE))), Parsed(build(HOSTILE))
    shape = [(tag, sorted(attributes)) for tag, attributes in tame.elements]
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.elements] == shape
    whole = " ".join(HOSTILE.split())
    assert hostile.text.count(whole) > 60
    assert [one["href"] for one in hostile.all("a")] == ["step" + HOSTILE]


def test_each_phase_is_told_without_colour():
    made = report(phases=dict.fromkeys(PHASES, 1))
    text = html(made)
    hatches = set(re.findall(r'<pattern id="(hatch-\w+)"', text))
    used = set(re.findall(r"url\(#(hatch-\w+)\)", text))
    assert used <= hatches
    assert len(used) == len(PHASES) - 1, "all but one, which is plain"
    shapes = re.findall(r'<path class="ink-\w+" d="([^"]+)"', text)
    assert len(set(shapes)) == len(shapes) == len(hatches)


def test_many_maps_and_classes_say_what_is_left_out():
    scores = [(f"class{i}", -i) for i in range(50)]
    maps = np.ones((2, 2, 80), np.uint8)
    shown = walk()._replace(scores=scores, layers=[("wide", maps, 0, 255)])
    text = Parsed(html(shown=shown)).text
    assert "the first 64 of 80 are shown" in text
    assert "The largest 20 of 50 are shown." in text
    assert "class19" in text
    assert "class20" not in text


def test_a_share_is_not_rounded_to_all_or_nothing():
    assert page._percent(0.9999) == "99.9 %"
    assert page._percent(0.0001) == "< 0.1 %"
    assert [page._percent(share) for share in (0, 1, 0.5)] == ["0.0 %", "100.0 %", "50.0 %"]


def test_the_look_is_that_of_the_step_through_page():
    def properties(name: str) -> dict[str, str]:
        text = resources.files("accel.show").joinpath("templates", name).read_text("utf-8")
        return dict(re.findall(r"^  (--[\w-]+): ([^;]+);", text, re.M))

    own, other = properties("report.css"), properties("step.css")
    shared = own.keys() & other.keys()
    assert len(shared) > 15
    assert {name: own[name] for name in shared} == {name: other[name] for name in shared}


def test_report_json_survives_a_file():
    made = json.loads(json.dumps(report()))
    assert html(made) == html(report())


@pytest.mark.browser
def test_a_browser_keeps_the_policy_and_a_phone_does_not_scroll_sideways(tmp_path):
    text = full(report(verified=False, mismatch=MISMATCH))
    with launched(tmp_path) as opened:
        opened.open(text)
        assert [url for url in opened.requests() if url[:5] != "data:"] == []
        assert opened.driver.get_log("browser") == []
        wide = "document.documentElement.scrollWidth"
        for width in (420, 1200):
            opened.size(width, "dark")
            assert opened.read(wide) == width
        planted = '<script>var planted = 1</script><p style="color: red">x</p></main>'
        opened.open(text.replace("</main>", planted))
        log = " ".join(one["message"] for one in opened.driver.get_log("browser"))
        assert log.count("Content Security Policy") >= 2
        assert opened.read("typeof planted") == "undefined"


def test_wrong_pooling_and_wrong_counts_are_reasons_against():
    made = report(verified=False, miscounted=["conv2"])
    made["others"][0]["mismatches"] = 3
    text = Parsed(html(made)).text
    assert "✗ NOT VERIFIED" in text
    assert "3 of 270,400 outputs of layer pool1 differ from the normative network." in text
    assert "Layer conv2 counted something else than its closed form." in text
