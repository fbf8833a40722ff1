"""What a quantisation was asked for comes back whole, or is refused by name."""

import json

import pytest
import quantised

from configs.errors import InputError
from quant import request
from quant.request import Request
from quant.settings import Quantization

ASKED = Request(
    settings=Quantization(weight_bits=5, layers=("first=w8", "conv2=a4"), epochs=0),
    formats=("tflite",),
    golden_images=7,
)


def test_it_comes_back_as_it_was(tmp_path):
    """Every setting another than its default; and no file is nothing asked for."""
    assert request.read(tmp_path) is None
    everything = Quantization(
        weight_bits=3, activation_bits=4, layers=("first=w8",), epochs=1,
        learning_rate=0.5, calibration="percentile", percentile=99.0,
        calibration_images=9, weight_scales="layer", weight_steps="fixed",
        activation_steps="pact", seed=2**32 - 1,
    )  # fmt: skip
    plain = vars(Quantization())
    assert all(value != plain[name] for name, value in vars(everything).items())
    for settings, formats in ((everything, ()), (Quantization(), ("onnx", "stablehlo"))):
        asked = Request(settings=settings, formats=formats, golden_images=0)
        request.write(tmp_path, asked)
        assert request.read(tmp_path) == asked
    assert [path.name for path in tmp_path.iterdir()] == [request.FILE]


def remove(value):
    del value["settings"]["seed"]


DAMAGE = [
    (remove, r"settings\.seed` is missing"),
    (lambda v: v.pop("formats"), r"settings\.json\.formats` is missing"),
    (lambda v: v.update(more=1), r"settings\.json\.more` \(=1\) must be left out"),
    (lambda v: v.update(settings=3), r"settings\.json\.settings` \(=3\) must be an object"),
    (lambda v: v.update(formats=["onx"]), r"settings\.json` .*`formats\[0\]` \(='onx'\)"),
    (lambda v: v.update(formats=7), r"settings\.json` cannot be used: `formats` \(=7\)"),
    (lambda v: v.update(golden_images="2"), r"`golden_images` \(='2'\)"),
    (lambda v: v["settings"].update(epochs=-1), r"`epochs` \(=-1\)"),
    (lambda v: v["settings"].update(epochs=[1]), r"`epochs` \(=\(1,\)\)"),
    (lambda v: v["settings"].update(layers="first=w8"), r"`layers` \(='first=w8'\)"),
    (lambda v: v["settings"].update(layers=[{}]), r"`layers\[0\]` \(=\{\}\)"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage, message):
    request.write(tmp_path, ASKED)
    path = tmp_path / request.FILE
    value = json.loads(path.read_text())
    damage(value)
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=message) as refusal:
        request.read(tmp_path)
    assert "quantise the run again: `python -m quant --run DIR --overwrite`" in str(
        refusal.value
    )


def test_a_damaged_file_stops_a_resume_and_nothing_else(run, capsys):
    """One message, status 2; --overwrite is the way out."""
    (run / "quant").mkdir()
    (run / "quant" / request.FILE).write_text("{")
    before = quantised.listing(run)
    assert quantised.main("--run", run, "--resume") == 2
    assert "settings.json` is no strict JSON" in capsys.readouterr().err
    assert quantised.listing(run) == before
    quickly = ("--epochs", "0", "--calibration-images", "64", "--formats")
    assert quantised.main("--run", run, "--overwrite", *quickly) == 0
    assert request.read(run / "quant").settings.calibration_images == 64
