"""Speed of attacks against that of training, on the same network in one run.

    python -m benchmarks.attack_speed

An image-step is one forward and backward pass of one image, with all that the attack does
besides; training does one per image, and an update per batch. Both run on all cores as
the commands do (`train_speed.lockstep`). The budget is one level, on noise, so that hardly
an image breaks. Contestants take turns; the figure is the best of the rounds. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import numpy as np

from benchmarks.train_speed import BATCH, examples, lockstep

IMAGES = 1024


def attacked(steps: int) -> dict[str, Callable[[], tuple[int, float]]]:
    """For each attack a function that gives image-steps and seconds."""
    import jax

    from configs.registry import load_network
    from train.attack import apgd, gradient, search
    from train.attack.target import Target
    from train.judge import Classifier
    from train.model import build

    model = build(load_network("mnist_cnn"), key=jax.random.key(0))
    subject = Target(name="float", predict=model, surrogate=model)
    images = examples()[0][:IMAGES]
    judge = Classifier(model)
    labels = judge.classes(images)

    def turn(attack: search.Attack) -> Callable[[], tuple[int, float]]:
        def run() -> tuple[int, float]:
            began = time.perf_counter()
            found = search.run(
                attack, subject, images, labels, 1,
                seed=0, indices=np.arange(IMAGES), judge=judge,
            )  # fmt: skip
            return int(found.steps.sum()), time.perf_counter() - began

        return run

    return {
        "pgd": turn(gradient.PGD(steps=steps)),
        "apgd": turn(apgd.apgd_ce(steps=steps)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--steps", type=int, default=8, help="gradient steps of an attack")
    parser.add_argument("--batches", type=int, default=70, help="training batches a turn")
    options = parser.parse_args()

    import jax

    cores = len(os.sched_getaffinity(0))
    jax.config.update("jax_num_cpu_devices", cores)
    print(f"jax {jax.__version__}, {cores} cores")
    train = lockstep(cores)
    contestants = {
        "training": lambda: (options.batches * BATCH, train(options.batches)),
        **attacked(options.steps),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(options.rounds + 1):
        for name, run in contestants.items():
            count, seconds = run()
            if turn:  # the first one compiles
                rates[name].append(count / seconds)
    best = {name: max(values) for name, values in rates.items()}
    for name, values in rates.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{name:10} {best[name]:>8,.0f} image-steps/s  ({spread})")
    result = {
        "benchmark": "attack_speed",
        "ratios": {
            name: round(best[name] / best["training"], 3) for name in ("pgd", "apgd")
        },
        "figures": {
            **{f"{name}_image_steps_per_s": round(rate) for name, rate in best.items()},
            "images": IMAGES,
            "steps": options.steps,
            "rounds": options.rounds,
        },
    }
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
