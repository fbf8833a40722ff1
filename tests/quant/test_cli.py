"""The command line of `python -m quant`: answers, mistakes, a full disk."""

import json
import subprocess
import sys

import numpy as np
import pytest
import quantised
import runs
from PIL import Image

from quant import fast, files
from quant.exports import onnx_qdq

COMMANDS = ("", "predict", "check", "sweep")
QUICKLY = ("--epochs", "0", "--calibration-images", "64")


def start(*arguments, before: str = "") -> subprocess.CompletedProcess:
    """`python -m quant ARGUMENTS` in a process of its own, after the code in `before`."""
    code = quantised.QUICK + before + quantised.MAIN
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, env=runs.environment(), timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_mistakes_are_answered_without_jax(name):
    """Importing JAX takes longer than all the rest."""
    code = (
        "import sys\nfrom quant.cli import main\n"
        "try:\n    sys.exit(main(sys.argv[1:]))\n"
        "finally:\n"
        "    heavy = {'jax', 'matplotlib', 'onnx', 'onnxruntime', 'ai_edge_litert'}\n"
        "    assert not heavy & sys.modules.keys()"
    )
    for arguments, status in ((["--help"], 0), (["--nosuch"], 2)):
        given = [name] * bool(name) + arguments
        done = subprocess.run(
            [sys.executable, "-c", code, *given],
            capture_output=True, text=True, env=runs.environment(),
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        if status == 0:
            assert f"usage: python -m quant {name}".strip() in done.stdout
            assert "--run" in done.stdout


def test_the_help_names_every_command_and_option(capsys):
    assert quantised.main("--help") == 0
    text = capsys.readouterr().out
    for word in (
        "predict", "check", "sweep", "--formats", "--golden-images", "--resume",
        "--overwrite", "--smoke", "--weight-bits", "--layers", "--epochs", "--calibration",
    ):  # fmt: skip
        assert word in text


MISTAKES = [
    ([], "--run STR"),
    (["--run", "absent"], "there is no absent/config.json; train first"),
    (["--run", "RUN", "--resume", "--overwrite"], "exclude each other"),
    (["--run", "RUN", "--formats", "onx"], "invalid choice 'onx'"),
    (["--run", "RUN", "--golden-images", "-1"], "`golden_images` (=-1)"),
    (["--run", "RUN", "--golden-images", "999"], "`--golden-images` (="),
    (["--run", "RUN", "--weight-bits", "9"], "`weight_bits` (=9)"),
    (["--run", "RUN", "--activation-bits", "1"], "`activation_bits` (=1)"),
    (["--run", "RUN", "--layers", "conv1"], "`layers` (='conv1')"),
    (["--run", "RUN", "--layers", "conv9=w4"], "`layers` (=conv9=w4) must name a layer"),
    (["--run", "RUN", "--epochs", "-1"], "`epochs` (=-1)"),
    (["--run", "RUN", "--epochs", "x"], "invalid literal for int()"),
    (["--run", "RUN", "--learning-rate", "0"], "`learning_rate` (=0.0)"),
    (["--run", "RUN", "--learning-rate", "nan"], "`learning_rate` (=nan)"),
    (["--run", "RUN", "--calibration", "best"], "invalid choice 'best'"),
    (["--run", "RUN", "--calibration-images", "0"], "`calibration_images` (=0)"),
    (["--run", "RUN", "--percentile", "50"], "`percentile` (=50.0)"),
    (["--run", "RUN", "--seed", "-1"], "`seed` (=-1)"),
    (["--run", "RUN", "--bits", "8"], "Unrecognized options: --bits"),
    (["nosuch"], "Unrecognized options: nosuch"),
    (["predict", "--run", "RUN"], "`images` (=())"),
    (["predict", "--run", "RUN", "absent.png"], "manifest.json` cannot be read"),
    (["predict", "absent.png"], "--run STR"),
    (["check", "--run", "RUN"], "manifest.json` cannot be read"),
    (["check", "RUN"], "Unrecognized options: RUN"),
    (["sweep", "--run", "absent"], "there is no absent/config.json"),
    (["sweep", "--run", "RUN", "--bits", "9"], "`bits` (=(9,))"),
    (["sweep", "--run", "RUN", "--bits"], "`bits` (=())"),
    (["sweep", "--run", "RUN", "--epochs", "-1"], "`epochs` (=-1)"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda m: "")
def test_a_mistake_is_one_message_and_nothing_is_written(
    trained_run, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    before = quantised.listing(trained_run)
    given = [str(trained_run) if a == "RUN" else a for a in arguments]
    message = message.replace("RUN", str(trained_run))
    assert quantised.main(*given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    # A long path is broken over the lines of the parser's box.
    flat = lambda text: "".join(text.replace("│", " ").split())
    assert flat(message) in flat(err)
    # What is no box of the parser is one line, after what the stage said before.
    if "For full helptext" not in err:
        (error,) = (line for line in err.splitlines() if line.startswith("error: "))
        assert err.endswith(error + "\n")
    assert list(tmp_path.iterdir()) == []
    assert quantised.listing(trained_run) == before
    assert not (trained_run / "quant").exists()


def test_a_process_of_its_own_prints_nothing_but_the_metrics(run):
    """Every export and runtime, as a user starts it; libraries write to stdout, too."""
    done = start("--run", run, *QUICKLY, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((run / "quant/metrics.json").read_text())
    assert "Comparing every logit of 256 images: litert" in done.stderr


def test_json_is_the_whole_of_stdout(run, tmp_path, capsys):
    arguments = ("--run", run, "--json", "--smoke", "--formats", "onnx", *QUICKLY[:2])
    assert quantised.main(*arguments) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics == json.loads((run / "quant/metrics.json").read_text())
    assert metrics["settings"]["calibration_images"] == 64
    path = tmp_path / "gray.png"
    Image.fromarray(np.full((28, 28), 9, np.uint8)).save(path)
    assert quantised.main("predict", "--run", run, path, "--json") == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["picture"] == str(path)
    assert quantised.main("check", "--run", run, "--json") == 0
    assert "onnxruntime" in json.loads(capsys.readouterr().out)


def test_smoke_shortens_the_training(monkeypatch, trained_run):
    from quant import stage

    seen = []

    def stop(folder, settings, **keywords):
        seen.append((settings, keywords))
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "run", stop)
    assert quantised.main("--run", trained_run, "--smoke") == 130
    settings, keywords = seen[0]
    assert (settings.epochs, settings.calibration_images) == (1, 64)
    assert keywords["golden_images"] == 2
    assert keywords["formats"] == ("onnx", "tflite", "stablehlo")


def test_a_runtime_that_differs_ends_with_status_1_and_is_named(run, monkeypatch, capsys):
    """Rounding towards minus infinity in the fast path: layer, place, values, status."""
    jnp = fast.jnp
    monkeypatch.setattr(jnp, "round", jnp.floor)
    assert quantised.main("--run", run, "--formats", "onnx", *QUICKLY) == 1
    out, err = capsys.readouterr()
    assert "error: jax differ from the integer network" in err
    metrics = json.loads((run / "quant/metrics.json").read_text())
    found = metrics["runtimes"]
    assert found["jax"]["mismatches"] > 0
    assert found["onnxruntime"]["mismatches"] == 0
    sentence = found["jax"]["first_mismatch"]
    assert "`conv1` at (" in sentence
    assert f"jax: {sentence}" in out


def test_a_file_that_computes_something_else_ends_with_status_1(run, monkeypatch, capsys):
    """A fault of the writer: the file's bias is wrong by much, the hashes are right."""
    real = onnx_qdq.encode

    def wrong(network):
        import onnx

        model = onnx.ModelProto.FromString(real(network))
        for tensor in model.graph.initializer:
            if tensor.name == "dense1.bias":
                values = np.frombuffer(tensor.raw_data, np.int32) + np.int32(1 << 14)
                tensor.raw_data = values.tobytes()
        return model.SerializeToString(deterministic=True)

    monkeypatch.setattr(onnx_qdq, "encode", wrong)
    assert quantised.main("--run", run, "--formats", "onnx", *QUICKLY) == 1
    assert "error: onnxruntime differ" in capsys.readouterr().err
    metrics = json.loads((run / "quant/metrics.json").read_text())
    assert "`dense1` at (" in metrics["runtimes"]["onnxruntime"]["first_mismatch"]
    monkeypatch.setattr(onnx_qdq, "encode", real)
    assert quantised.main("check", "--run", run) == 1
    assert "`dense1.bias`" in capsys.readouterr().out


def test_a_full_disk_leaves_no_half_written_network(run):
    """No file may grow beyond some bytes: one message, and no manifest."""
    limit = 2000
    before = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    before += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    done = start("--run", run, *QUICKLY, "--formats", "onnx", before=before)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    held = quantised.listing(run / "quant")
    assert not held.keys() & {files.MANIFEST, "metrics.json"}
    assert held
    assert all(len(content) <= limit for content in held.values())
    assert not [name for name in held if name.endswith(".tmp")]


def test_a_write_that_fails_at_any_file_leaves_no_manifest(run, monkeypatch, capsys):
    """The same for an old result: whatever fails, a manifest that is there is whole."""
    real, calls = files.rundir.write_bytes, []

    def failing(path, content):
        calls.append(path.name)
        if len(calls) == 5:
            with files.rundir.writing(path):
                raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(files.rundir, "write_bytes", failing)
    arguments = ("--run", run, "--formats", "onnx", *QUICKLY)
    assert quantised.main(*arguments) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (run / "quant" / files.MANIFEST).exists()
    assert quantised.main(*arguments, "--overwrite") == 0
    assert f"python -m quant predict --run {run}" in capsys.readouterr().out


def testall_cores_become_devices_of_jax():
    code = "import os, jax\nn = cli.all_cores()\nassert len(jax.devices()) == n"
    code += " == len(os.sched_getaffinity(0))\n"
    done = subprocess.run(
        [sys.executable, "-c", quantised.QUICK + code],
        capture_output=True, text=True, env=runs.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
