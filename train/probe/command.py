"""`probe`, a command of both stages: what can be asked, and how it ends."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from train.console import all_cores, guarded, stdout_kept_clean
from train.probe import ledger
from train.probe.settings import QUICK, Settings
from train.where import Where


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What to probe."""

    # Run directory, such as runs/mnist_cnn.
    run: str
    # Seconds to minutes instead of many: every probe weaker and on fewer images.
    quick: bool = False
    # Go on with a probe that was interrupted, with the settings that it began with.
    resume: bool = False
    # Replace the probe that is there.
    overwrite: bool = False
    # Print probes.json on stdout.
    json: bool = False
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Everything that is measured.
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)


def main(
    given: Sequence[str],
    *,
    prog: str,
    description: str,
    stage: str,
    probe: Callable[..., dict[str, Any]],
    following: Callable[[Path], str],
) -> int:
    """Parses and runs; `probe(folder, settings, where, resume=, overwrite=)` works."""
    return guarded(
        lambda: _run(
            _parsed(given, prog, description, stage), given, prog, stage, probe, following
        )
    )


def _parsed(given: Sequence[str], prog: str, description: str, stage: str) -> Probe:
    """The command; with --resume it says what the interrupted one said, unless told."""
    first = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    first.add_argument("--run", nargs="?")
    first.add_argument("--quick", action=argparse.BooleanOptionalAction)
    first.add_argument("--resume", action=argparse.BooleanOptionalAction)
    known, _ = first.parse_known_args(list(given))
    settings = QUICK if known.quick else Settings()
    if known.run and known.resume:
        settings = ledger.begun(Path(known.run) / stage / ledger.FOLDER) or settings
    return tyro.cli(
        Probe,
        args=list(given),
        prog=prog,
        description=description,
        default=Probe(run=tyro.MISSING, quick=bool(known.quick), settings=settings),
        config=(tyro.conf.AvoidSubcommands,),
    )


def _run(command: Probe, given, prog: str, stage: str, probe, following) -> int:
    folder = Path(command.run)
    from train.probe.gates import RefusedError

    try:
        with stdout_kept_clean():
            all_cores()
            found = probe(
                folder,
                command.settings,
                command.data,
                resume=command.resume,
                overwrite=command.overwrite,
            )
    except RefusedError as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = [a for a in given if a not in ("--resume", "--overwrite")]
        again = shlex.join(["python", "-m", *prog.split()[2:], *kept, "--resume"])
        print(
            f"stopped; finished parts are kept. Continue with `{again}`.", file=sys.stderr
        )
        return 130
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        from train.probe.summary import print_summary

        print_summary(found, folder / stage, following(folder))
    return 0
