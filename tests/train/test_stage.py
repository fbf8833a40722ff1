"""The training stage: what it writes, what it refuses, what the next stage gets."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from configs import stored
from configs.errors import InputError
from configs.network import Dense, Flatten, Network, Pool
from configs.schema import Data, Experiment, Optimizer, Train
from train import checkpoint, rundir, stage
from train.model import split
from train.progress import Display
from train.session import DivergedError

EXPERIMENT = Experiment(
    name="tiny",
    network=Network(
        input_shape=(28, 28, 1),
        layers=(
            Pool(kind="mean", window=(4, 4), stride=(4, 4)),
            Flatten(),
            Dense(features=10, activation="identity"),
        ),
    ),
    data=Data(source="embedded", limit=256),
    optimizer=Optimizer(learning_rate=0.02),
    train=Train(epochs=4, batch=32, microbatch=0, checkpoint_every_s=0),
)
STOPPING = dataclasses.replace(
    EXPERIMENT,
    data=Data(source="embedded", limit=256, validation=200),
    train=dataclasses.replace(EXPERIMENT.train, epochs=60, patience=3),
    optimizer=Optimizer(learning_rate=0.5, schedule="constant"),
)
QUIET = Display(quiet=True)


def with_train(**changes):
    return dataclasses.replace(
        EXPERIMENT, train=dataclasses.replace(EXPERIMENT.train, **changes)
    )


def run(folder, experiment=EXPERIMENT, **keywords):
    return stage.run(experiment, folder, display=QUIET, **keywords)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(stage, "write_pictures", lambda folder, **keywords: [])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run directory and the metrics it was left with."""
    folder = tmp_path_factory.mktemp("finished") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "write_pictures", lambda folder, **keywords: [])
        return folder, run(folder)


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_the_run_directory_holds_what_the_contract_says(finished):
    folder, metrics = finished
    assert json.loads((folder / "train/metrics.json").read_text()) == metrics
    assert stored.from_dict(json.loads((folder / "config.json").read_text())) == EXPERIMENT
    assert metrics["dataset"].keys() == {
        "name", "source", "train", "validation", "test", "sha256",
    }  # fmt: skip
    assert metrics["dataset"]["source"] == "embedded"
    assert metrics["epochs"] == 4
    assert metrics["parameters"] == 49 * 10 + 10
    assert metrics["macs"] == 490
    assert metrics["wall_s"] > 0
    assert {"jax", "flax", "numpy", "python"} <= metrics["versions"].keys()
    log = [
        json.loads(line) for line in (folder / "train/log.jsonl").read_text().splitlines()
    ]
    assert [record["epoch"] for record in log] == [1, 2, 3, 4]
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    assert log[-1]["eval_accuracy"] == metrics["test_accuracy"] > 0.5


def test_the_next_stage_gets_the_parameters_and_the_accuracy(finished):
    folder, metrics = finished
    trained = stage.load(folder)
    assert trained.experiment == EXPERIMENT
    assert trained.metrics == metrics
    from train import data

    test = data.load(EXPERIMENT.data).test
    predicted = np.argmax(trained.model(test.images), -1)
    assert np.mean(predicted == test.labels) == pytest.approx(metrics["test_accuracy"])
    _, params = split(trained.model)
    assert checkpoint.parameters_sha256(params) == metrics["parameters_sha256"]


def test_the_same_seed_gives_the_same_bits_and_another_one_others(finished, tmp_path):
    again = run(tmp_path / "again")
    other = run(tmp_path / "other", dataclasses.replace(EXPERIMENT, seed=1))
    assert again["parameters_sha256"] == finished[1]["parameters_sha256"]
    assert other["parameters_sha256"] != finished[1]["parameters_sha256"]


def test_an_existing_run_is_kept_unless_told_otherwise(copy, finished):
    before = (copy / "train/metrics.json").read_bytes()
    with pytest.raises(InputError, match=r"already holds a training run; continue it with"):
        run(copy)
    assert (copy / "train/metrics.json").read_bytes() == before
    with pytest.raises(InputError, match="exclude each other"):
        run(copy, resume=True, overwrite=True)
    (copy / "train/old.png").write_text("old")
    metrics = run(copy, overwrite=True)
    assert metrics["parameters_sha256"] == finished[1]["parameters_sha256"]
    assert not (copy / "train/old.png").exists()


def test_resuming_a_finished_run_changes_nothing_but_times(copy, finished):
    metrics = run(copy, resume=True)
    same = ("parameters_sha256", "test_accuracy", "epochs", "dataset")
    assert {k: metrics[k] for k in same} == {k: finished[1][k] for k in same}


def test_resume_without_a_checkpoint_starts_at_the_beginning(finished, tmp_path):
    metrics = run(tmp_path / "new", resume=True)
    assert metrics["parameters_sha256"] == finished[1]["parameters_sha256"]


def test_resume_passes_over_a_damaged_checkpoint(copy, finished):
    newest = max((copy / "train/checkpoint").iterdir())
    victim = next(path for path in newest.rglob("*") if path.is_file())
    victim.write_bytes(b"x" + victim.read_bytes()[1:])
    metrics = run(copy, resume=True)
    assert metrics["parameters_sha256"] == finished[1]["parameters_sha256"]


def test_resume_refuses_other_settings_and_names_them(copy):
    with pytest.raises(InputError, match=r"`train.epochs`: 4 -> 9"):
        run(copy, with_train(epochs=9), resume=True)


def test_resume_refuses_other_data(copy, monkeypatch):
    real = stage.data.load
    other = lambda data: dataclasses.replace(real(data), sha256="0" * 64)
    monkeypatch.setattr(stage.data, "load", other)
    with pytest.raises(InputError, match=r"`--resume` needs the data the run began with"):
        run(copy, resume=True)


def test_settings_that_cannot_change_the_result_may_change(copy, finished):
    metrics = run(copy, with_train(checkpoint_every_s=30.0, checkpoints=5), resume=True)
    assert metrics["parameters_sha256"] == finished[1]["parameters_sha256"]


def test_load_refuses_a_run_that_is_not_there_or_not_finished(copy, tmp_path):
    with pytest.raises(InputError, match=r"there is no .*config.json; train first"):
        stage.load(tmp_path / "absent")
    (copy / "train/metrics.json").unlink()
    with pytest.raises(InputError, match=r"there is no .*metrics.json; train first"):
        stage.load(copy)


def test_load_refuses_another_config(copy):
    changed = dataclasses.replace(EXPERIMENT, seed=5)
    rundir.write_json(copy / "config.json", stored.to_dict(changed))
    with pytest.raises(InputError, match="is not the one this run was trained with"):
        stage.load(copy)


def test_load_refuses_parameters_of_an_earlier_step(copy):
    """The newest checkpoint is damaged; the one before it is good but not the result."""
    newest = max((copy / "train/checkpoint").iterdir())
    (newest / "digest.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"does not hold the parameters of this run .*damaged"
    ):
        stage.load(copy)


def test_load_refuses_damaged_metrics(copy):
    (copy / "train/metrics.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        stage.load(copy)


def test_a_diverged_run_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    wild = dataclasses.replace(
        with_train(epochs=50),
        optimizer=Optimizer(
            name="sgd", learning_rate=1e37, schedule="constant", warmup=0.5
        ),
    )
    with pytest.raises(
        DivergedError, match=r"NaN or infinite in step \d+ of 400 \(epoch \d+\)"
    ):
        run(tmp_path / "wild", wild)
    saved, complaints = checkpoint.restore(tmp_path / "wild/train/checkpoint")
    assert not complaints
    assert saved is None or all(
        np.all(np.isfinite(array)) for array in saved.arrays.values()
    )
    assert not (tmp_path / "wild/train/metrics.json").exists()


def test_early_stopping_keeps_the_best_parameters(tmp_path):
    """At a rate that is too high the validation score stops improving; the best counts."""
    metrics = run(tmp_path / "run", STOPPING)
    log = [
        json.loads(line)
        for line in (tmp_path / "run/train/log.jsonl").read_text().splitlines()
    ]
    scores = [record["eval_accuracy"] for record in log]
    assert metrics["best_epoch"] == int(np.argmax(scores)) + 1
    assert metrics["epochs"] == len(log) == metrics["best_epoch"] + 3 < 60
    assert stage.load(tmp_path / "run").metrics == metrics


def test_early_stopping_survives_a_resume(tmp_path, monkeypatch):
    """Killed after the best epoch and resumed, the best parameters are still the best."""
    whole = run(tmp_path / "whole", STOPPING)
    from train import session

    real = session.Trainer._piece

    def stopping(self, interruptions):
        epochs = len(self.host.log)
        if epochs == whole["best_epoch"] + 1:
            raise KeyboardInterrupt
        return real(self, interruptions)

    monkeypatch.setattr(session.Trainer, "_piece", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", STOPPING)
    monkeypatch.setattr(session.Trainer, "_piece", real)
    resumed = run(tmp_path / "cut", STOPPING, resume=True)
    same = ("parameters_sha256", "best_epoch", "epochs", "test_accuracy")
    assert {k: resumed[k] for k in same} == {k: whole[k] for k in same}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": Train(batch=999)}, r"`--train.batch` \(=999\) must be at most"),
        ({"train": Train(batch=33)}, r"`--train.batch` \(=33\) must be a multiple of"),
        (
            {
                "network": Network(
                    input_shape=(28, 28, 1),
                    layers=(Flatten(), Dense(features=7, activation="identity")),
                )
            },
            r"`--network.layers.1.features` \(=7\) must be the number of classes",
        ),
        (
            {
                "network": Network(
                    input_shape=(32, 32, 1),
                    layers=(Flatten(), Dense(features=10, activation="identity")),
                )
            },
            r"`--network.input-shape` \(=\(32, 32, 1\)\) must be the shape",
        ),
        ({"task": "regression"}, r"`--task` \(=regression\) does not go with mnist"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_is_written(
    tmp_path, change, message
):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "run", dataclasses.replace(EXPERIMENT, **change))
    assert not (tmp_path / "run").exists()


def test_metrics_name_every_device_that_trained(finished):
    assert len(jax.devices()) == 2
    assert finished[1]["devices"] == ["cpu:0", "cpu:1"]
