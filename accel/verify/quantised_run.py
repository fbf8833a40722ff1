"""What a machine is given: the integer network of a run, and images to run it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.checks import brief
from configs.errors import InputError
from quant import files
from quant.network import IntNetwork
from train import data, rundir
from train.where import Where, same


@dataclass(frozen=True)
class QuantisedRun:
    """A quantised network, verified, and test images of the data it was made from."""

    name: str
    network: IntNetwork
    # SHA-256 of the manifest, which names that of every tensor.
    sha256: str
    images: np.ndarray
    # Classes (N,), or None for regression.
    labels: np.ndarray | None
    dataset: dict[str, Any]


def load(folder: Path, images: int | None, where: Where | None = None) -> QuantisedRun:
    """The network in a run directory and its first test images; None: all.

    Raises:
      InputError: a file is missing or damaged, or they do not belong together.
    """
    _refuse_missing(folder)
    stored = files.load(folder / "quant")
    source = _source(folder, stored.manifest)
    experiment = rundir.read_config(folder)
    trained = rundir.read_json(folder / "train" / "metrics.json")
    if trained.get("parameters_sha256") != source["parameters_sha256"]:
        raise InputError(
            f"`--run` (={folder}) was trained again after it was quantised; quantise it "
            f"again with `python -m quant --run {folder} --overwrite`."
        )
    dataset = same(
        data.load((where or Where()).of(experiment.data)),
        source["dataset_sha256"],
        f"`--run` (={folder}) was quantised for data",
        retrain="train and quantise again",
    )
    count = len(dataset.test) if images is None else images
    if not 1 <= count <= len(dataset.test):
        raise InputError(
            f"`--images` (={images}) must be in 1..{len(dataset.test)}, the test images "
            f"there are, or all."
        )
    classes = source["task"] == "classification"
    return QuantisedRun(
        source["name"],
        stored.network,
        stored.manifest["sha256"],
        dataset.test.images[:count],
        dataset.test.labels[:count] if classes else None,
        trained.get("dataset", {}),
    )


def _refuse_missing(folder: Path) -> None:
    if not (folder / "config.json").exists():
        raise InputError(
            f"`--run` (={folder}) must be a run directory, and holds no config.json; train "
            f"first with `python -m train --config mnist_cnn`."
        )
    if not (folder / "quant" / files.MANIFEST).exists():
        raise InputError(
            f"`--run` (={folder}) holds no quantised network; make one with `python -m "
            f"quant --run {folder}`."
        )


def _source(folder: Path, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the network was made from; its manifest may hold anything there."""
    source = manifest["source"]
    for name in ("name", "task", "parameters_sha256", "dataset_sha256"):
        if not isinstance(source.get(name), str):
            raise InputError(
                f"`{folder}/quant/{files.MANIFEST}.source.{name}` "
                f"(={brief(source.get(name))}) must be text; quantise the run again: "
                f"`python -m quant --run {folder} --overwrite`."
            )
    return source
