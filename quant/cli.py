"""The command line of `python -m quant`.

As in `train.cli`, nothing here imports JAX before the command is known to be right.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from configs.checks import require
from quant.exports import FORMATS, FormatName
from quant.settings import Quantization
from train import where
from train.console import all_cores, guarded, stdout_kept_clean
from train.where import Where

_DESCRIPTION = """Quantises a trained run to integers, exports it, and proves that every
runtime computes the same bits.

Writes quant/ into the run directory: the integer network (manifest.json,
model.safetensors), model.onnx, model.tflite, model.stablehlo, golden/, metrics.json and
pictures. Exit status 1 if a single logit of a single test image differs.

Other commands: predict (classify pictures), check (re-validate the files), sweep (accuracy
against bit width), probe (robustness, float beside integers); each has --help."""

_PROBE = """Probes a quantised run: the float network, the one with fake quantisation and
the integers as deployed, side by side: the same attacks, transforms and corruptions.

The integers are attacked through their straight-through twin, with what fools the others,
and by Square on the integers themselves. Writes probes.json, worst_inputs.npz and pictures
into quant/ of the run directory. Exit status 1, and no number, if a gate says that the
numbers would not be true."""


@dataclass(frozen=True, kw_only=True)
class Quantise:
    """What to quantise and what to write."""

    # Run directory of a finished training, such as runs/mnist_cnn.
    run: str
    # Continue an interrupted quantisation, with the settings that it began with.
    resume: bool = False
    # Replace the quantised network that is there.
    overwrite: bool = False
    # Seconds instead of minutes: at most one epoch, few calibration images.
    smoke: bool = False
    # Print the metrics as one JSON document.
    json: bool = False
    # What to export beside the safetensors file.
    formats: tuple[FormatName, ...] = FORMATS
    # Test images whose every intermediate value is written to golden/.
    golden_images: int = 2
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Every setting of the quantisation.
    quantization: Annotated[Quantization, tyro.conf.arg(name="")] = field(
        default_factory=Quantization
    )

    def __post_init__(self) -> None:
        rule = self.golden_images >= 0
        require(self, rule, "golden_images", "must be 0 (none) or more.")


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Classifies pictures with the integer network."""

    # Run directory with a quantised network.
    run: str
    # Pictures (PNG, JPEG, BMP, GIF, PGM, TIFF, WebP); another size than the network's is
    # resized.
    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    # Swap black and white: MNIST digits are white on black.
    invert: bool = False
    # Cut out what is drawn and centre it as MNIST's digits are, its shape kept.
    fit: bool = False
    # Write what the network saw as PNG files into this folder.
    out: str | None = None
    # Replace PNG files that are there.
    overwrite: bool = False
    # Print one JSON document.
    json: bool = False

    def __post_init__(self) -> None:
        require(self, bool(self.images), "images", "must name a picture or more.")


@dataclass(frozen=True, kw_only=True)
class Check:
    """Re-validates a quantised network from its files: hashes, bounds, every export
    against the integers, every runtime on images that reach the ends."""

    # Run directory with a quantised network.
    run: str
    # Print one JSON document.
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Accuracy against the bits of weights and activations, as sweep.json and sweep.png."""

    # Run directory of a finished training.
    run: str
    # Widths, largest first; every pair is tried without training.
    bits: tuple[int, ...] = (8, 7, 6, 5, 4, 3, 2)
    # Passes of quantisation-aware training for each width (weights and activations
    # alike) beside that; 0 leaves it out.
    epochs: int = 1
    # The data, if it is not where it was.
    data: Where = field(default_factory=Where)
    # Print one JSON document.
    json: bool = False

    def __post_init__(self) -> None:
        fits = bool(self.bits) and all(2 <= bits <= 8 for bits in self.bits)
        require(self, fits, "bits", "must be widths in 2..8.")
        require(self, self.epochs >= 0, "epochs", "must be 0 (none) or more.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; gives back the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given[0] if given else ""
    commands: dict[str, tuple[type, Callable]] = {
        "predict": (Predict, _predict),
        "check": (Check, _check),
        "sweep": (Sweep, _sweep),
    }
    if name == "probe":
        return _probe(given[1:])
    if name not in commands:
        return guarded(lambda: _quantise(_quantise_parsed(given)))
    kind, command = commands[name]
    return guarded(lambda: command(_parsed(kind, name, kind.__doc__, given[1:])))


def _parsed(kind: type, name: str, description: str, given: Sequence[str], **default):
    return tyro.cli(
        kind,
        args=list(given),
        prog=f"python -m quant {name}".strip(),
        description=description,
        config=(tyro.conf.AvoidSubcommands,),
        **default,
    )


def _quantise_parsed(given: Sequence[str]) -> Quantise:
    """The command; with --resume it says what the interrupted one said, unless told."""
    first = argparse.ArgumentParser(
        prog="python -m quant", add_help=False, allow_abbrev=False
    )
    first.add_argument("--run", nargs="?")
    first.add_argument("--resume", action=argparse.BooleanOptionalAction)
    known, _ = first.parse_known_args(list(given))
    default = {}
    if known.run and known.resume:
        from quant import request

        begun = request.read(Path(known.run) / "quant")
        if begun:
            default["default"] = Quantise(
                run=known.run,
                formats=begun.formats,
                golden_images=begun.golden_images,
                quantization=begun.settings,
            )
    return _parsed(Quantise, "", _DESCRIPTION, given, **default)


def _quantise(command: Quantise) -> int:
    import dataclasses

    from quant import stage
    from quant.summary import print_summary
    from train.interrupt import Interrupted
    from train.session import DivergedError

    folder, settings = Path(command.run), command.quantization
    if command.smoke:
        settings = dataclasses.replace(
            settings,
            epochs=min(settings.epochs, 1),
            calibration_images=min(settings.calibration_images, 64),
        )
    try:
        with stdout_kept_clean():
            metrics = stage.run(
                folder,
                settings,
                formats=command.formats,
                golden_images=command.golden_images,
                resume=command.resume,
                overwrite=command.overwrite,
                threads=all_cores(),
                where=command.data,
            )
    except DivergedError as error:
        print(
            f"error: {error}; the trained run is untouched. Give a smaller "
            f"--learning-rate.",
            file=sys.stderr,
        )
        return 1
    except Interrupted as stop:
        given = ["--run", str(folder), *where.options(command.data), "--resume"]
        again = f"python -m quant {shlex.join(given)}"
        print(f"{stop}; saved. Continue with `{again}`.", file=sys.stderr)
        return 128 + stop.signum
    if command.json:
        print(json.dumps(metrics, sort_keys=True))
    else:
        print_summary(metrics, folder)
    wrong = [n for n, found in metrics["runtimes"].items() if found["mismatches"]]
    if wrong:
        print(f"error: {', '.join(wrong)} differ from the integer network", file=sys.stderr)
    return 1 if wrong else 0


def _predict(command: Predict) -> int:
    from quant.predict import predict
    from quant.summary import print_predictions

    paths = [Path(image) for image in command.images]
    found = predict(
        Path(command.run) / "quant",
        paths,
        invert=command.invert,
        fit=command.fit,
        out=Path(command.out) if command.out else None,
        overwrite=command.overwrite,
    )
    for one in found:
        if one["note"]:
            print(f"{one['picture']}: {one['note']}", file=sys.stderr)
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_predictions(found)
    return 0


def _check(command: Check) -> int:
    from quant.check import check
    from quant.summary import print_checks

    folder = Path(command.run)
    with stdout_kept_clean():
        found = check(folder / "quant", threads=all_cores())
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        print_checks(found, folder)
    return 1 if any(found.values()) else 0


def _probe(given: Sequence[str]) -> int:
    from train.probe import command

    def probe(folder: Path, settings: object, where: Where, **how: bool) -> dict:
        from quant.probe import probe

        return probe(folder, settings, where=where, **how)

    return command.main(
        given,
        prog="python -m quant probe",
        description=_PROBE,
        stage="quant",
        probe=probe,
        following=lambda run: f"python -m accel verify --run {shlex.quote(str(run))}",
    )


def _sweep(command: Sweep) -> int:
    from quant.summary import console
    from quant.sweep import sweep, table

    folder = Path(command.run)
    with stdout_kept_clean():
        all_cores()
        found = sweep(folder, command.bits, command.epochs, where=command.data)
    if command.json:
        print(json.dumps(found, sort_keys=True))
    else:
        console().print(table(found))
        print(f"\nwritten  {folder}/quant/sweep.json, sweep.png")
    return 0
