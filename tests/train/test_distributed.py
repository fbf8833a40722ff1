"""Two processes on loopback train as one, and end together."""

import json
import signal
import socket
import time

import numpy as np
import pytest
import runs

from configs.errors import InputError
from train import checkpoint
from train.distributed import Distributed


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_both(folder, run, *arguments):
    """Both processes of a distributed run of the small experiment."""
    common = ("--config", runs.config(folder), "--run", folder / run, "--json", *arguments)
    common += ("--distributed.processes", "2")
    common += ("--distributed.coordinator", f"127.0.0.1:{free_port()}")
    return [runs.start(*common, "--distributed.process", n) for n in (0, 1)]


def wait_for(condition, timeout_s=90):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def parameters(run):
    found, complaints = checkpoint.restore(run / "train" / "checkpoint")
    assert not complaints
    return {n: a for n, a in found.arrays.items() if n.startswith("state.params")}


@pytest.mark.slow
def test_two_processes_train_what_one_process_with_two_devices_trains(tmp_path):
    ends = [runs.finish(process) for process in start_both(tmp_path, "two")]
    assert [status for status, _, _ in ends] == [0, 0], ends
    metrics = json.loads(ends[0][1])
    assert ends[1][1] == ""
    assert len(metrics["devices"]) == 2
    config = tmp_path / "tiny.py"
    arguments = ("--config", config, "--run", tmp_path / "one", "--train.cpu-devices", 2)
    status, _, err = runs.train(*arguments)
    assert status == 0, err
    one, two = parameters(tmp_path / "one"), parameters(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_a_process_ends_the_other_with_a_message(tmp_path, victim):
    processes = start_both(tmp_path, "run", "--train.epochs", "1000000")
    saved = tmp_path / "run" / "train" / "checkpoint"
    wait_for(lambda: checkpoint.steps(saved))
    processes[victim].send_signal(signal.SIGKILL)
    status, _, err = runs.finish(processes[1 - victim], timeout_s=60)
    processes[victim].communicate()
    assert status == 1, err
    assert f"error: process {1 - victim} of 2 lost the others" in err
    assert "Traceback" not in err
    assert checkpoint.restore(saved)[0] is not None


@pytest.mark.slow
def test_a_signal_to_either_process_saves_and_stops_both(tmp_path):
    processes = start_both(tmp_path, "run", "--train.epochs", "1000000")
    saved = tmp_path / "run" / "train" / "checkpoint"
    wait_for(lambda: checkpoint.steps(saved))
    processes[1].send_signal(signal.SIGTERM)
    ends = [runs.finish(process, timeout_s=60) for process in processes]
    assert [status for status, _, _ in ends] == [143, 143], ends
    assert "SIGTERM: stopped after step" in ends[0][2]


@pytest.mark.slow
def test_a_distributed_run_resumes_and_needs_the_same_directory_everywhere(tmp_path):
    first = [runs.finish(p) for p in start_both(tmp_path, "run", "--train.epochs", "2")]
    assert [status for status, _, _ in first] == [0, 0], first
    again = [
        runs.finish(p)
        for p in start_both(tmp_path, "run", "--train.epochs", "2", "--resume")
    ]
    assert [status for status, _, _ in again] == [0, 0], again
    hashes = [json.loads(ends[0][1])["parameters_sha256"] for ends in (first, again)]
    assert hashes[0] == hashes[1]
    common = ("--config", runs.config(tmp_path), "--resume", "--train.epochs", "2")
    common += ("--distributed.processes", "2")
    common += ("--distributed.coordinator", f"127.0.0.1:{free_port()}")
    apart = [
        runs.start(*common, "--distributed.process", n, "--run", tmp_path / folder)
        for n, folder in ((0, "run"), (1, "elsewhere"))
    ]
    ends = [runs.finish(process) for process in apart]
    assert ends[0][0] == 2, ends
    assert "must be the same directory for every process" in ends[0][2]


@pytest.mark.slow
def test_a_process_that_never_comes_is_waited_for_only_so_long(tmp_path):
    arguments = ("--config", runs.config(tmp_path), "--run", tmp_path / "run")
    arguments += ("--distributed.processes", "2", "--distributed.start-s", "3")
    arguments += ("--distributed.coordinator", f"127.0.0.1:{free_port()}")
    status, _, err = runs.train(*arguments)
    # JAX's own service ends the process, with its own words.
    assert status != 0, err
    assert "DEADLINE_EXCEEDED" in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 2}, r"`--distributed.coordinator` \(=''\) goes with"),
        ({"coordinator": "a:1"}, "goes with `--distributed.processes`"),
        ({"coordinator": "a", "processes": 2}, "must be host:port"),
        (
            {"coordinator": "a:1", "processes": 2, "process": 2},
            r"`--distributed.process` \(=2\) must be 0 to 1",
        ),
        ({"heartbeat_s": 0}, r"`--distributed.heartbeat_s` \(=0\) must be 1 or more"),
        ({"start_s": 0}, r"`--distributed.start_s` \(=0\) must be 1 or more"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Distributed(**settings)
