"""What the stage writes, refuses and keeps: whole files, one writer, the right network."""

import dataclasses
import json
import os

import pytest
import quantised

from accel.machines.machine import Mac, Systolic, Tile
from accel.simulate.simulation import LostResultError
from accel.verify import quantised_run, stage
from accel.verify.run import Setup
from configs import registry, schema
from configs.errors import InputError
from train import rundir
from train import stage as training

SMALL = Setup(machine=Systolic(rows=4, cols=4), batch=2)
OUT = "accel/systolic_ws_4x4"
FILES = {"report.json", "report.html", "step.html", "trace.json", "tile.vcd"}


def verify(folder, setup=SMALL, images=3, **keywords):
    return stage.run_verify(folder, setup, images=images, **keywords)


def compare(folder, **keywords):
    sizes = {"rows": 2, "cols": 2, "images": 1, "batch": 1, "most_cycles": 0}
    return stage.run_compare(folder, **{**sizes, **keywords})


def names(folder):
    """Files of a folder, but for the lock that says who writes there."""
    return set(quantised.listing(folder))


def test_the_files_and_keys_that_scripts_rely_on(verified):
    assert names(verified / OUT) == FILES
    found = json.loads((verified / OUT / "report.json").read_text())
    assert found.keys() >= {
        "machine", "images", "batch", "verified", "total_cycles", "not_counted", "layers",
    }  # fmt: skip
    assert (found["machine"], found["images"], found["batch"]) == ("systolic_ws_4x4", 3, 2)
    assert found["verified"] is True
    assert found["not_counted"]
    for layer in found["layers"]:
        assert layer.keys() >= {
            "name", "M", "K", "N", "tiles", "cycles_simulated", "cycles_closed_form",
            "macs", "utilization", "mismatches",
        }  # fmt: skip
    layers = {layer["name"]: layer for layer in found["layers"]}
    # A 3x3 window on 14x14 pixels, for the two images of a full batch.
    conv = layers["conv1"]
    assert (conv["M"], conv["K"], conv["N"]) == (2 * 144, 9, 2)
    # Three tiles of 9 inputs in fours, once for two images and once for the third.
    assert conv["tiles"] == 6
    edges = lambda m: 2 * 4 + m + 4 - 2
    assert conv["cycles_simulated"] == 3 * edges(288) + 3 * edges(144)
    assert conv["macs"] == 3 * 144 * 9 * 2
    assert found["total_cycles"] == sum(
        one["cycles_closed_form"] for one in layers.values()
    )


def test_a_machine_without_an_array_has_no_page_to_step_through(run):
    found = verify(run, Setup(machine=Tile(inputs=4, outputs=4)), 1)
    assert names(run / "accel" / found["machine"]) == FILES - {"step.html", "tile.vcd"}
    assert (
        'href="step.html"' not in (run / "accel/tile_outputs_4x4/report.html").read_text()
    )


def test_progress_announces_the_cycles_that_are_stepped(run):
    announced, stepped = [], []
    found = verify(
        run, Setup(machine=Mac()), 1,
        begin=lambda text, total: announced.append((text, total)), done=stepped.append,
    )  # fmt: skip
    assert announced == [("mac", found["total_cycles"])]
    assert sum(stepped) == found["total_cycles"]


# One writer; whole files.


def test_a_report_is_replaced_only_when_asked(verified):
    before = quantised.listing(verified)
    with pytest.raises(
        InputError, match=r"already holds a report of systolic_ws_4x4; .*--o"
    ):
        verify(verified)
    assert quantised.listing(verified) == before


def test_overwriting_replaces_everything_but_the_faults(verified):
    out = verified / OUT
    (out / "faults.json").write_text("{}")
    (out / "left_over.txt").write_text("")
    (out / ".new").mkdir()
    (out / ".new" / "half.txt").write_text("")
    old = {name: (out / name).read_bytes() for name in FILES}
    verify(verified, images=2, overwrite=True)
    assert names(out) == FILES | {"faults.json"}
    assert (out / "faults.json").read_text() == "{}"
    assert json.loads((out / "report.json").read_text())["images"] == 2
    assert (out / "report.html").read_bytes() != old["report.html"]
    assert (out / "trace.json").read_bytes() != old["trace.json"]


@pytest.mark.parametrize("failing", sorted(FILES))
def test_a_write_that_fails_leaves_the_old_report_whole(verified, monkeypatch, failing):
    """Whichever file it is; neither a new file nor a temporary one stays."""
    real, before = os.replace, quantised.listing(verified)

    def replace(source, target):
        if os.path.basename(target) == failing:
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        verify(verified, images=2, overwrite=True)
    assert quantised.listing(verified) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, LostResultError, MemoryError])
def test_what_stops_the_stepping_leaves_the_old_report_whole(verified, monkeypatch, error):
    def stop(*arguments, **keywords):
        raise error("one result")

    before = quantised.listing(verified)
    monkeypatch.setattr(stage, "verify", stop)
    with pytest.raises(error):
        verify(verified, overwrite=True)
    assert quantised.listing(verified) == before


def test_two_processes_cannot_write_into_one_folder(verified):
    """The second is refused before it steps anything."""
    before = quantised.listing(verified)
    told = lambda *arguments: pytest.fail("stepped")
    with rundir.lock(verified / OUT), pytest.raises(InputError, match="in use by another"):
        verify(verified, overwrite=True, begin=told)
    with rundir.lock(verified / "accel"), pytest.raises(InputError, match="in use"):
        compare(verified, say=told)
    assert quantised.listing(verified) == before


def test_a_report_that_was_finished_meanwhile_is_not_replaced(run, monkeypatch):
    """Between the first look and the lock another process has written one."""
    real = quantised_run.load

    def load(folder, images, where=None):
        rundir.write_json(folder / OUT / "report.json", {"first": True})
        rundir.write_json(folder / "accel/compare.json", {"first": True})
        return real(folder, images, where)

    monkeypatch.setattr(quantised_run, "load", load)
    with pytest.raises(InputError, match="already holds a report"):
        verify(run)
    (run / "accel/compare.json").unlink()
    with pytest.raises(InputError, match="already holds a comparison"):
        compare(run)
    assert names(run / OUT) == {"report.json"}


def test_a_machine_that_does_not_fit_makes_no_folder(run):
    setup = Setup(machine=Systolic(rows=4, cols=4, accumulators=143))
    with pytest.raises(InputError, match=r"`accumulators` \(=143\).*conv1.* 144 "):
        verify(run, setup)
    assert not (run / "accel").exists()


# The comparison, in the pages that were there before it.


def test_a_comparison_appears_in_the_pages_of_earlier_verifications(verified):
    page = verified / OUT / "report.html"
    kept = FILES - {"report.html"}
    before = {name: (verified / OUT / name).read_bytes() for name in kept}
    assert "systolic_os_2x2" not in page.read_text()
    told = []
    compare(verified, say=told.append)
    assert "systolic_os_2x2" in page.read_text()
    assert 'href="step.html"' in page.read_text()
    assert told[-1] == f"{page} shows the comparison."
    assert {name: (verified / OUT / name).read_bytes() for name in kept} == before
    assert names(verified / OUT) == FILES
    # And in those of later ones, the same to the byte.
    shown = page.read_bytes()
    report = json.loads((verified / OUT / "report.json").read_text())
    given = quantised_run.load(verified, report["images"])
    assert stage._files(verified, SMALL, given, report)["report.html"] == shown
    compare(verified, rows=3, cols=3, overwrite=True)
    assert "systolic_os_3x3" in page.read_text()
    assert "systolic_os_2x2" not in page.read_text()


DAMAGES = {
    "another network": ("manifest_sha256", "0" * 64, "it is of another network"),
    "no layers": ("layers", None, "its report is of another version ("),
    "other phases": ("phases", {}, "its report is of another version (KeyError('load'))"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_page_that_cannot_show_the_comparison_stays_and_is_named(verified, case):
    key, value, message = DAMAGES[case]
    path = verified / OUT / "report.json"
    rundir.write_json(path, {**json.loads(path.read_text()), key: value})
    before = quantised.listing(verified / OUT)
    told = []
    compare(verified, say=told.append)
    assert message in told[-1]
    assert "\n" not in told[-1]
    assert quantised.listing(verified / OUT) == before
    assert (verified / "accel/compare.json").exists()


def test_an_unreadable_report_does_not_stop_a_comparison(verified):
    (verified / OUT / "report.json").write_text("{")
    told = []
    compare(verified, say=told.append)
    assert "cannot be read" in told[-1]
    with rundir.lock(verified / OUT):
        compare(verified, say=told.append, overwrite=True)
    assert "in use by another process" in told[-1]


def test_a_comparison_of_another_network_is_not_shown(verified):
    compare(verified)
    path = verified / "accel/compare.json"
    other = {**json.loads(path.read_text()), "manifest_sha256": "0" * 64}
    rundir.write_json(path, other)
    verify(verified, overwrite=True)
    assert "systolic_os_2x2" not in (verified / OUT / "report.html").read_text()


# Regression, vectors, no classes.


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    """A quantised run of sine_mlp, whose inputs are vectors."""
    folder = tmp_path_factory.mktemp("regression") / "run"
    experiment = schema.smoke(registry.load_experiment("sine_mlp"))
    experiment = dataclasses.replace(experiment, widths=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "write_pictures", lambda folder, **keywords: [])
        training.run(experiment, folder, display=quantised.QUIET)
    quantised.quantise(folder, formats=(), golden_images=0)
    return folder


def test_a_regression_on_vectors_is_verified_and_shown(regression, tmp_path):
    folder = quantised.copied(regression, tmp_path / "run")
    found = verify(folder)
    assert found["verified"] is True
    assert found["accuracy"] is None
    assert [layer["M"] for layer in found["layers"]] == [2] * len(found["layers"])
    text = (folder / OUT / "report.html").read_text()
    assert "output 0" in text
    compare(folder)
    assert "systolic_os_2x2" in (folder / OUT / "report.html").read_text()
