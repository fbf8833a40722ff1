"""What belongs together is loaded; what was changed since is refused by name."""

import json

import numpy as np
import pytest
import quantised

from accel.verify import quantised_run as subject
from configs.errors import InputError
from quant import files
from train import data, rundir
from train import stage as training


def change(path, **values):
    rundir.write_json(path, {**json.loads(path.read_text()), **values})


def test_the_first_images_and_their_classes(run):
    given = subject.load(run, 7)
    test = data.load(training.load(run).experiment.data).test
    assert given.name == "tiny"
    np.testing.assert_array_equal(given.images, test.images[:7])
    np.testing.assert_array_equal(given.labels, test.labels[:7])
    manifest = json.loads((run / "quant/manifest.json").read_text())
    assert given.sha256 == manifest["sha256"]
    assert given.dataset["name"] == "mnist"
    assert len(subject.load(run, None).images) == len(test) == 256


@pytest.mark.parametrize("count", [0, -1, 257])
def test_no_such_number_of_images(run, count):
    with pytest.raises(InputError, match=rf"`--images` \(={count}\) must be in 1\.\.256"):
        subject.load(run, count)


def no_run(run):
    (run / "config.json").unlink()


def not_quantised(run):
    (run / "quant/manifest.json").unlink()


def no_training(run):
    (run / "train/metrics.json").unlink()


def changed_manifest(run):
    change(run / "quant/manifest.json", version=9)


def torn_manifest(run):
    path = run / "quant/manifest.json"
    path.write_bytes(path.read_bytes()[:-100])


def changed_bit(run):
    path = run / "quant/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def no_tensors(run):
    (run / "quant/model.safetensors").unlink()


def trained_again(run):
    change(run / "train/metrics.json", parameters_sha256="0" * 64)


def other_data(run):
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["data"]["limit"] = 300
    rundir.write_json(path, config)


def torn_config(run):
    (run / "config.json").write_text("{")


def no_source(run):
    """A manifest that somebody wrote, with the right SHA-256 of itself."""
    path = run / "quant/manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["source"]["dataset_sha256"]
    manifest["sha256"] = files.own_sha256(manifest)
    path.write_bytes(files._text(manifest))


DAMAGES = [
    (no_run, r"`--run` \(=.*\) must be a run directory, .* train first"),
    (not_quantised, r"`--run` \(=.*\) holds no quantised network; make one with"),
    (no_training, r"`--run`: there is no .*train/metrics\.json; train first"),
    (changed_manifest, r"manifest\.json\.sha256` .* the file was changed"),
    (torn_manifest, r"manifest\.json` is no strict JSON"),
    (changed_bit, r"model\.safetensors` \(=.* the file was changed"),
    (no_tensors, r"model\.safetensors` cannot be read: No such file"),
    (trained_again, r"was trained again after it was quantised; .*quant --run .* --overwr"),
    (other_data, r"was quantised for data with SHA-256 .*restore it, or train and quant"),
    (torn_config, r"config\.json` cannot be read"),
    (no_source, r"source\.dataset_sha256` \(=None\) must be text; quantise the run again"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=lambda d: "")
def test_what_does_not_belong_together_is_one_refusal(
    quantised_run, tmp_path, main, capsys, damage, message
):
    """By every command that takes a run; nothing is written."""
    run = quantised.copied(quantised_run, tmp_path / "run")
    damage(run)
    before = quantised.listing(run)
    with pytest.raises(InputError, match=message):
        subject.load(run, 1)
    small = ("--rows", "2", "--cols", "2")
    for command in ("verify", "compare", "faults", "step"):
        more = {"faults": ("--register", "sum"), "step": ("--out", tmp_path / "page.html")}
        assert main(command, "--run", run, *small, *more.get(command, ())) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert quantised.listing(run) == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
