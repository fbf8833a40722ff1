"""The step-through page as text: what it holds, that nothing from outside acts in it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import integers
import numpy as np
import pytest

from accel.machines.machine import Systolic
from accel.show import step
from accel.simulate import trace
from configs.errors import InputError
from configs.network import Conv, Dense, Flatten, Network
from configs.program import Pad
from quant import normative

FLOWS = ("ws", "os", "is")
HOSTILE = "</script><img src=x onerror=alert(1)>&\"'"


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles, as a browser cuts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inside = False
        self.tags: list[tuple[str, dict]] = []
        self.inline: list[tuple[str, dict, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inline.append((tag, dict(attrs), ""))
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            tag, attributes, text = self.inline[-1]
            self.inline[-1] = (tag, attributes, text + data)

    def names(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    def data(self) -> list[dict]:
        (text,) = (t for _, a, t in self.inline if a.get("type") == "application/json")
        return json.loads(text)


def with_title(title: str) -> str:
    run = step.small_example("ws", 2, 2).trace
    return step.page([step.Example(title=title, trace=run)])


def small_network(seed: int = 0):
    layers = (
        Conv(features=5, kernel=(3, 3), padding="zero"),
        Flatten(),
        Dense(features=4, activation="identity"),
    )
    return integers.filled(Network(input_shape=(7, 6, 2), layers=layers), seed=seed)


def test_the_page_holds_the_simulators_own_registers():
    examples = [step.small_example(flow, 2, 3) for flow in FLOWS]
    for one, data in zip(examples, Elements(step.page(examples)).data(), strict=True):
        run = one.trace
        assert (data["rows"], data["cols"]) == (2, 3)
        assert data["dataflow"] == run.machine.dataflow
        assert tuple(data["phases"]) == tuple(run.phases)
        for name in ("weight", "input", "sum", "valid"):
            np.testing.assert_array_equal(data[name], run.registers[name])
        np.testing.assert_array_equal(data["captured"], run.captured)
        np.testing.assert_array_equal(data["captured_valid"], run.captured_valid)
        np.testing.assert_array_equal(np.array(data["x"]), run.x)
        np.testing.assert_array_equal(np.array(data["w"]), run.w)


def test_nothing_is_fetched_and_only_the_named_script_and_style_may_act():
    html = step.page([step.small_example("ws")])
    elements = Elements(html)
    assert not re.search(r"https?:|url\(|@import|\bsrc=|\bhref=|<link|<iframe|eval\(", html)
    (policy,) = (meta["content"] for meta in elements.names("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag, attributes, text in elements.inline:
        if attributes.get("type") != "application/json":
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy


def acts(html: str) -> bool:
    """Whether a hostile title became an element."""
    return any("onerror" in attributes for _, attributes in Elements(html).tags)


def test_a_title_cannot_leave_the_data_it_stands_in(monkeypatch):
    html = with_title(HOSTILE)
    assert not acts(html)
    assert Elements(html).data()[0]["title"] == HOSTILE
    monkeypatch.setattr(step, "_json", json.dumps)
    assert acts(with_title(HOSTILE)), "or the check above proves nothing"


def test_the_same_examples_give_the_same_page():
    pages = {step.page([step.small_example(flow) for flow in FLOWS]) for _ in range(2)}
    assert len(pages) == 1


@pytest.mark.parametrize("flow", FLOWS)
def test_the_small_example_is_the_lectures_and_fits_any_array(flow):
    lecture = step.small_example(flow)
    assert lecture.symbolic
    assert lecture.trace.x.shape == lecture.trace.w.shape == (3, 3)
    for rows, cols in ((1, 2), (5, 2), (16, 16)):
        run = step.small_example(flow, rows, cols).trace
        m, k, n = (*run.x.shape, run.w.shape[1])
        assert step.leading(run.machine, m, k, n) == (m, k, n)
        assert max(m, k, n) == max(rows, cols) or flow == "os"


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("name", ["conv1", "dense1"])
def test_a_tile_of_a_network_holds_the_layers_own_operands(flow, name):
    network = small_network()
    images = integers.images(network.network, 2)
    machine = Systolic(rows=4, cols=3, dataflow=flow)
    run = step.tile_of(network, name, images, machine).trace
    seen = {}
    for one in normative.steps(network, images[:1]):
        seen[one.layer.name] = one
    layer = seen[name].layer
    w = layer.weighted.matrix[: len(run.w), : run.w.shape[1]]
    np.testing.assert_array_equal(run.w, w)
    pad, x = layer.step.find(Pad), seen[name].input.astype(np.int64)
    if name == "conv1":
        (x,) = normative.rows_of(normative.pad(x, pad.kind, pad.pads), layer.product)
    windows = [x[i : i + len(run.x), : run.x.shape[1]] for i in range(len(x))]
    assert any(np.array_equal(run.x, window) for window in windows)


def test_a_tile_takes_the_positions_where_something_is():
    network = small_network()
    image = np.zeros((1, 7, 6, 2), np.uint8)
    image[0, 5:, 3:] = 200
    one = step.tile_of(network, "conv1", image, Systolic(rows=8, cols=2, dataflow="os"))
    assert (one.trace.x != 0).any()
    padded = normative.pad(image.astype(np.int64), "zero", ((1, 1), (1, 1)))
    assert (normative.im2col(padded, (3, 3), (1, 1))[:8] == 0).all()
    assert "conv1: positions" in one.title


def refused(match: str, act) -> None:
    with pytest.raises(InputError, match=match):
        act()


def test_what_does_not_fit_the_page_is_refused_by_name():
    network = small_network()
    images = integers.images(network.network, 1)
    good = Systolic(rows=4, cols=4)
    large = Systolic(rows=4, cols=32)
    shadow = Systolic(rows=4, cols=4, weights="shadow")
    refused(
        r"`cols` \(=32\).*1\.\.16", lambda: step.tile_of(network, "conv1", images, large)
    )
    refused(
        r"`weights` \(='shadow'\)", lambda: step.tile_of(network, "conv1", images, shadow)
    )
    refused(r"`layer_name` \(='pool1'\).*conv1, dense1",
            lambda: step.tile_of(network, "pool1", images, good))  # fmt: skip
    refused("`images`", lambda: step.tile_of(network, "conv1", images[:0], good))
    refused(r"`rows` \(=17\)", lambda: step.small_example("ws", 17, 3))
    refused("`examples`", lambda: step.page([]))
    twice = [step.small_example("ws"), step.small_example("ws")]
    refused("one ws run", lambda: step.page(twice))
    run = step.small_example("ws").trace
    refused("`title`", lambda: step.Example(title=" ", trace=run))
    x, w = np.ones((17, 2), np.uint8), np.ones((2, 2), np.int8)
    long = trace.record(Systolic(rows=2, cols=2), x, w)
    refused(r"`M` \(=17\)", lambda: step.Example(title="long", trace=long))
    tiles = trace.record(
        Systolic(rows=2, cols=2), np.ones((3, 4), np.uint8), w.repeat(2, 0)
    )
    refused(r"`K` \(=4\).*at most 2", lambda: step.Example(title="t", trace=tiles))
