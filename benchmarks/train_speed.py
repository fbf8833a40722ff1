"""Training throughput of `mnist_cnn` against PyTorch, side by side in one run.

    make bench

The same network, batch and optimiser (AdamW), the same images in memory, no
augmentation, the same cores. PyTorch gets its best layout (contiguous or channels last)
and its best mode (eager or compiled), found by a trial before the measurement, each for
float32 and for bfloat16 autocast. Contestants take turns; the figure is the median of
the rounds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

BATCH = 128
IMAGES = 20_000
# A contestant trains this many batches in the time it gives back.
Steps = Callable[[int], float]


def lockstep(devices: int) -> Steps:
    """Our training as `python -m train` runs it, on the first CPU devices."""
    import jax

    from configs.registry import load_experiment
    from configs.schema import Augment
    from train import loop
    from train.dataset import Dataset, Split
    from train.fit import prepare
    from train.mesh import AXIS, place

    experiment = dataclasses.replace(load_experiment("mnist_cnn"), augment=Augment())
    images, labels = examples()
    split = Split(images=images, labels=labels)
    dataset = Dataset(
        name="random", source="files", train=split, validation=None, test=split,
        classes=tuple("0123456789"), sha256="", note="",
    )  # fmt: skip
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), (AXIS,))
    fit = prepare(experiment, dataset, mesh=mesh)
    order = loop.batch_order(experiment, IMAGES, 0)
    by_batch = jax.sharding.PartitionSpec(None, AXIS)
    fixed = (
        *place((images, labels), mesh),
        place(order, mesh, by_batch),
        place(fit.key, mesh),
    )
    state = place(fit.initial, mesh)

    def steps(count: int) -> float:
        began = time.perf_counter()
        piece = fit.run(state, *fixed, np.int32(0), np.int32(count))
        jax.block_until_ready(piece)
        assert bool(piece.healthy)
        return time.perf_counter() - began

    return steps


def torch_loop(channels_last: bool, compiled: bool, bfloat16: bool) -> Steps:
    """The same training written the usual way in PyTorch."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=2e-3, weight_decay=1e-4, fused=True
    )
    images, labels = examples()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().mul_(2**-8)
    targets = torch.from_numpy(labels).long()

    def steps(count: int) -> float:
        order = torch.randperm(IMAGES)
        began = time.perf_counter()
        for step in range(count):
            index = order[step * BATCH : (step + 1) * BATCH]
            batch = pixels[index].contiguous(memory_format=layout)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                loss = nn.functional.cross_entropy(forward(batch), targets[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return time.perf_counter() - began

    return steps


def examples() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, 28, 28, 1), dtype=np.uint8)
    return images, draw.integers(0, 10, IMAGES).astype(np.int32)


def best(name: str, contestants: dict[str, Steps], trial: int) -> tuple[str, Steps]:
    """The fastest contestant of a short trial, after warming each up."""
    rates = {}
    for variant, steps in contestants.items():
        steps(10)
        rates[variant] = trial * BATCH / min(steps(trial) for _ in range(3))
        print(f"  {name}, {variant}: {rates[variant]:,.0f} images/s", flush=True)
    winner = max(rates, key=rates.get)
    return winner, contestants[winner]


def matmul_ceiling() -> float:
    """Best of some 1024 x 1024 x 1024 float32 products, GMAC/s."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((1024, 1024), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    times = []
    for _ in range(40):
        began = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - began)
    return 1024**3 / min(times) / 1e9


def training_macs() -> int:
    """MACs of one image forward and backward: three times the network's, but that no
    gradient is needed for the pixels."""
    from configs.registry import load_network

    network = load_network("mnist_cnn")
    return 3 * network.macs - next(network.walk()).macs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--steps", type=int, default=100, help="batches a turn")
    options = parser.parse_args()

    import os

    import jax
    import torch

    cores = len(os.sched_getaffinity(0))
    jax.config.update("jax_num_cpu_devices", cores)
    torch.set_num_threads(cores)
    print(f"jax {jax.__version__}, torch {torch.__version__}, {cores} cores")
    variants = [(last, mode) for last in (False, True) for mode in (False, True)]
    named = lambda last, mode: (
        f"{'channels last' if last else 'contiguous'}, {'compiled' if mode else 'eager'}"
    )
    ours = {f"{n} CPU device{'s' * (n > 1)}": lockstep(n) for n in sorted({1, cores})}
    contestants = {"lockstep": best("lockstep", ours, options.steps)}
    for name, bfloat16 in (("torch_float32", False), ("torch_bfloat16", True)):
        peers = {named(*v): torch_loop(*v, bfloat16) for v in variants}
        contestants[name] = best(name, peers, options.steps)

    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, (_, steps) in contestants.items():
            time.sleep(0.2)  # lets the other library's threads go to sleep
            rates[name].append(options.steps * BATCH / steps(options.steps))
    median = {name: statistics.median(values) for name, values in rates.items()}
    ceiling = matmul_ceiling()
    reached = median["lockstep"] * training_macs() / 1e9 / ceiling
    for name, rate in median.items():
        spread = f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}"
        print(f"{name:15} {rate:>8,.0f} images/s  ({spread}; {contestants[name][0]})")
    print(f"matmul ceiling {ceiling:,.0f} GMAC/s, of which {100 * reached:.0f} % reached")
    result = {
        "benchmark": "train_speed",
        "ratios": {
            name.removeprefix("torch_"): round(median["lockstep"] / median[name], 3)
            for name in median
            if name != "lockstep"
        },
        "figures": {
            **{f"{name}_images_per_s": round(rate) for name, rate in median.items()},
            "matmul_ceiling_gmac_per_s": round(ceiling, 1),
            "ceiling_reached": round(reached, 3),
            "rounds": options.rounds,
            "variants": {name: variant for name, (variant, _) in contestants.items()},
        },
    }
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
