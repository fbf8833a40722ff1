"""The command line of `python -m train`: parsing, results, and one way to fail.

Nothing here imports JAX before the command is known to be right, so that `--help` and
mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from configs import registry, schema
from configs.errors import InputError
from configs.schema import Experiment
from train import rundir
from train.console import guarded, stdout_kept_clean
from train.distributed import Distributed
from train.where import Where

_DESCRIPTION = """Trains the network of a config on its data and evaluates it.

Writes config.json and train/ (metrics.json, log.jsonl, checkpoint/, pictures) into the
run directory. Every field of the experiment can be overridden; `python -m configs` lists
the configs.

Other commands: probe (how robust a trained network is), warps (several networks under
translation and rotation, in one figure); each has --help."""

_PROBE = """Probes the float network of a finished run: adversarial examples (FGSM, PGD,
APGD, Square, the worst of all per image), rotations, shifts, corruptions, certificates.

Writes probes.json, worst_inputs.npz and pictures into train/ of the run directory. Exit
status 1, and no number, if a gate says that the numbers would not be true."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to train and where to write it."""

    # Name of a config, or path of a .py file with get_config().
    config: str = ""
    # Run directory; without it runs/<name of the experiment>.
    run: str | None = None
    # Continue at the newest good checkpoint (with --run alone: with its own config).
    resume: bool = False
    # Replace the training run that is there.
    overwrite: bool = False
    # Shrink the experiment to seconds: few images, one epoch.
    smoke: bool = False
    # Print the metrics as one JSON document.
    json: bool = False
    # Several processes that train one network: the same command in each, but for
    # --distributed.process.
    distributed: Distributed = field(default_factory=Distributed)
    # Every field of the experiment.
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives back the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["probe"]:
        return _probe(given[1:])
    if given[:1] == ["warps"]:
        from train.probe import warps

        return warps.main(given[1:])
    return guarded(lambda: _train(given))


def parse(arguments: Sequence[str]) -> Command:
    """The command with its config read and every override applied and checked."""
    first = argparse.ArgumentParser(
        prog="python -m train", add_help=False, allow_abbrev=False
    )
    first.add_argument("--config", default="")
    first.add_argument("--run", default=None)
    first.add_argument("--smoke", action="store_true")
    first.add_argument("--help", "-h", action="store_true")
    known, _ = first.parse_known_args([a for a in arguments])
    experiment = _experiment(known)
    if known.smoke:
        experiment = schema.smoke(experiment)
    return tyro.cli(
        Command,
        args=list(arguments),
        prog="python -m train",
        description=_DESCRIPTION,
        default=Command(config=known.config, experiment=experiment),
        config=(tyro.conf.AvoidSubcommands,),
    )


def _experiment(known: argparse.Namespace) -> Experiment:
    if known.config:
        return registry.load_experiment(known.config)
    if known.help:
        return registry.load_experiment("mnist_cnn")
    if known.run and (Path(known.run) / "config.json").is_file():
        return rundir.read_config(Path(known.run))
    raise InputError(
        f"`--config` (='') must name what to train: one of "
        f"{', '.join(registry.experiment_names())}, or the path of a .py file; "
        f"`python -m configs` describes them."
    )


def _train(arguments: Sequence[str]) -> int:
    command = parse(arguments)
    status = _run(command)
    if command.distributed.coordinator:
        # At a normal exit JAX waits for the other processes, and aborts if they are gone.
        # Process 0 holds the service that the others are connected to: it leaves last.
        if command.distributed.process == 0:
            time.sleep(1)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _probe(given: Sequence[str]) -> int:
    from train.probe import command

    def probe(folder: Path, settings: object, where: Where, **how: bool) -> dict:
        from train.probe import stage
        from train.stage import load, load_data

        trained = load(folder)
        stage.refuse(trained, folder / "train", **how)
        dataset = load_data(trained, where)
        contenders = [stage.float_contender(trained)]
        return stage.run(contenders, folder / "train", trained, dataset, settings, **how)

    return command.main(
        given,
        prog="python -m train probe",
        description=_PROBE,
        stage="train",
        probe=probe,
        following=lambda run: f"python -m quant probe --run {shlex.quote(str(run))}",
    )


def _run(command: Command) -> int:
    folder = Path(command.run or f"runs/{command.experiment.name}")
    from train import stage
    from train.interrupt import Interrupted
    from train.mesh import LostProcessError, lost_processes
    from train.session import DivergedError

    try:
        with stdout_kept_clean(), lost_processes(command.distributed):
            metrics = stage.run(
                command.experiment,
                folder,
                resume=command.resume,
                overwrite=command.overwrite,
                distributed=command.distributed,
            )
    except LostProcessError as error:
        print(f"error: {error}. Start all processes again with --resume.", file=sys.stderr)
        return 1
    except DivergedError as error:
        print(
            f"error: {error}; the last good checkpoint is kept in {folder}/train/"
            f"checkpoint. Train with a smaller --optimizer.learning-rate.",
            file=sys.stderr,
        )
        return 1
    except Interrupted as stop:
        again = f"python -m train --run {folder} --resume"
        print(f"{stop}; saved. Continue with `{again}`.", file=sys.stderr)
        return 128 + stop.signum
    if command.distributed.process:
        return 0
    if command.json:
        print(json.dumps(metrics, sort_keys=True))
    else:
        from train.summary import print_summary

        print_summary(metrics, folder)
    return 0
