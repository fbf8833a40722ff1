"""The probe of the network that ships, beside the ones it was made from.

Three networks under one suite (`train.probe`): the float one, the one with fake
quantisation, and the integers. The integers are attacked through their straight-through
twin, by what fools the other two, and by Square on the integers themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import InputError
from quant import files, intervals, linear_bounds, twin
from train import stage as training
from train.certify import proofs
from train.judge import Classifier
from train.probe import stage
from train.probe.rows import Contender, Proof
from train.probe.settings import Settings
from train.where import Where


def probe(
    folder: Path,
    settings: Settings,
    *,
    where: Where | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Probes a quantised run; returns what quant/probes.json holds.

    Raises:
      InputError: run, folder and settings do not go together.
      RefusedError: a gate failed.
    """
    trained = training.load(folder)
    stage.refuse(trained, folder / "quant", resume=resume, overwrite=overwrite)
    deployed = files.load(folder / "quant")
    made_of = deployed.manifest["source"].get("parameters_sha256")
    if made_of != trained.metrics["parameters_sha256"]:
        raise InputError(
            f"`--run` (={folder}) was trained again after it was quantised; quantise it "
            f"again with `python -m quant --run {folder} --overwrite`."
        )
    dataset = training.load_data(trained, where)
    contenders = [stage.float_contender(trained), *contenders_of(deployed)]
    contenders = [one for one in contenders if one.name in settings.models]
    return stage.run(
        contenders, folder / "quant", trained, dataset, settings,
        resume=resume, overwrite=overwrite,
    )  # fmt: skip


def contenders_of(deployed: files.Stored) -> list[Contender]:
    """The network with fake quantisation, and the integers."""
    network, sha256 = deployed.network, deployed.manifest["sha256"]
    fake, integers = twin.fake_subject(network), twin.subject(network)
    graph, decide = linear_bounds.graph(network), linear_bounds.decide(network)

    def linear(*methods: str) -> Proof:
        def proved(images: np.ndarray, labels: np.ndarray, levels: int) -> np.ndarray:
            pixels = linear_bounds.pixels_within(images, levels)
            return proofs.proved(graph, pixels, labels, decide, methods) > 0

        return Proof(method=" or ".join(methods), certify=proved)

    return [
        Contender(
            subject=fake,
            judge=Classifier(fake.predict),
            sha256=sha256,
            certify=stage.certify(fake.predict),
            certificate="interval bounds, float32",
        ),
        Contender(
            subject=integers,
            judge=Classifier(integers.predict),
            sha256=sha256,
            certify=intervals.make_certify(network),
            certificate="exact integer intervals",
            closer=(linear(*proofs.METHODS[1:2]), linear(*proofs.METHODS[2:])),
        ),
    ]
