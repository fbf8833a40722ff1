"""Images a second of the integer network: ours against ONNX Runtime and LiteRT.

    make bench-int8 ARGS="--run runs/mnist_cnn"         (without a run: random weights)
    make bench-int8 ARGS="--config mnist_resnet8"       (of another network)

The same network, the same images in memory, the same cores. ONNX Runtime gets its best of
one session on all cores and one single-threaded session a core, LiteRT the same, each at
its best batch, found by a trial. Contestants take turns; the figure is the median of the
rounds. Before anything is timed, every output is compared. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

IMAGES = 10_240
BATCHES = (32, 64, 128, 256, 512)
# Classifies all images once; gives back the seconds that took.
Turn = Callable[[], float]


def network(run: str | None, config: str):
    """The quantised network of a run, or that of a config with random weights."""
    from quant import files

    if run:
        return files.load(Path(run) / "quant").network
    import jax

    from configs.registry import load_network
    from quant.calibrate import calibrate, observe
    from quant.convert import convert
    from quant.qat import fake_model, make_plan
    from quant.settings import Quantization
    from train.lowering import lowered
    from train.model import build

    model = lowered(build(load_network(config), key=jax.random.key(0)))
    spec, settings = model.network, Quantization(epochs=0)
    seen = observe(spec, model, pixels(spec.input_shape)[:256])
    steps = calibrate(make_plan(spec, settings), model, seen, settings)
    return convert(spec, fake_model(spec, model, steps), steps)


def pixels(shape: tuple[int, ...]) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (IMAGES, *shape), dtype=np.uint8)


def timed(work: Callable[[], object]) -> Turn:
    def turn() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return turn


def shared(parts: list[Callable[[], object]]) -> Turn:
    """One thread for each part."""

    def work() -> None:
        threads = [threading.Thread(target=part) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(parts[0] if len(parts) == 1 else work)


def streams(cores: int) -> list[tuple[int, int]]:
    """Sessions and threads of each: all cores in one, or one each."""
    return [(1, cores)] + ([(cores, 1)] if cores > 1 else [])


def onnxruntime_turns(content: bytes, images: np.ndarray, cores: int) -> dict[str, Turn]:
    from quant.exports import onnx_qdq

    turns = {}
    for count, threads in streams(cores):
        sessions = [onnx_qdq.session(content, threads) for _ in range(count)]
        for batch in BATCHES:
            parts = [
                lambda session=session, part=part, batch=batch: [
                    session.run(None, {"image": part[i : i + batch]})
                    for i in range(0, len(part), batch)
                ]
                for session, part in zip(sessions, np.split(images, count), strict=True)
            ]
            turns[f"{count} x {threads} threads, batch {batch}"] = shared(parts)
    return turns


def litert_turns(content: bytes, images: np.ndarray, cores: int) -> dict[str, Turn]:
    from quant.exports import tflite

    turns = {}
    for count, threads in streams(cores):
        for batch in BATCHES:
            parts = []
            for part in np.split(images, count):
                loaded = tflite.interpreter(content, threads)
                index = loaded.get_input_details()[0]["index"]
                loaded.resize_tensor_input(index, (batch, *part.shape[1:]))
                loaded.allocate_tensors()

                def work(loaded=loaded, index=index, part=part, batch=batch):
                    for i in range(0, len(part), batch):
                        loaded.set_tensor(index, part[i : i + batch])
                        loaded.invoke()

                parts.append(work)
            turns[f"{count} x {threads} threads, batch {batch}"] = shared(parts)
    return turns


def float_turn(spec, images: np.ndarray) -> Turn:
    """Our float network, as training evaluates it."""
    import jax

    from train.evaluate import make_predict
    from train.mesh import all_devices, place
    from train.model import build, split

    graph, params = split(build(spec, key=jax.random.key(0)))
    mesh = all_devices()
    predict, params = make_predict(graph, mesh), place(params, mesh)
    return timed(lambda: predict(params, images))


def best(name: str, turns: dict[str, Turn]) -> tuple[str, Turn]:
    """The fastest variant of a short trial, after warming each up."""
    seconds = {}
    for variant, turn in turns.items():
        turn()
        seconds[variant] = min(turn() for _ in range(3))
    winner = min(seconds, key=seconds.get)
    for variant, value in seconds.items():
        mark = " <-" if variant == winner else ""
        print(f"  {name}, {variant}: {IMAGES / value:,.0f} images/s{mark}", flush=True)
    return winner, turns[winner]


def check(net, contents: dict[str, bytes], images: np.ndarray) -> None:
    """Every output of every contestant, before any is timed."""
    from quant import equivalence

    verdicts, _ = equivalence.prove(net, contents, images)
    wrong = [f"{v.runtime}: {v.first}" for v in verdicts if v.mismatches]
    if wrong:
        raise SystemExit(f"the runtimes disagree: {'; '.join(wrong)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", help="run directory with a quantised network")
    parser.add_argument("--config", default="mnist_cnn", help="network without a run")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each contestant")
    parser.add_argument("--cores", type=int, help="use only this many cores")
    options = parser.parse_args()

    available = sorted(os.sched_getaffinity(0))
    cores = options.cores or len(available)
    # Before JAX and the runtimes count the cores.
    os.sched_setaffinity(0, available[:cores])
    import jax

    jax.config.update("jax_num_cpu_devices", cores)
    from quant import exports, fast

    net = network(options.run, options.config)
    images = pixels(net.network.input_shape)
    contents = {name: exports.module(name).encode(net) for name in ("onnx", "tflite")}
    check(net, contents, images[:1000])
    ours = fast.compile(net)
    print(f"{cores} cores, {IMAGES:,} images, {net.network.macs:,} MACs an image")
    contestants = {
        "lockstep": best("lockstep", {"int8": timed(lambda: ours(images))}),
        "onnxruntime": best(
            "onnxruntime", onnxruntime_turns(contents["onnx"], images, cores)
        ),
        "litert": best("litert", litert_turns(contents["tflite"], images, cores)),
        "lockstep_float": best("lockstep", {"float32": float_turn(net.network, images)}),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, (_, turn) in contestants.items():
            time.sleep(0.1)  # lets the other library's threads go to sleep
            rates[name].append(IMAGES / turn())
    median = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in median.items():
        spread = f"{min(rates[name]):,.0f} to {max(rates[name]):,.0f}"
        print(f"{name:15} {rate:>9,.0f} images/s  ({spread}; {contestants[name][0]})")
    result = {
        "benchmark": "int8_speed",
        "ratios": {
            name: round(median["lockstep"] / median[name], 3)
            for name in median
            if name != "lockstep"
        },
        "figures": {
            **{f"{name}_images_per_s": round(rate) for name, rate in median.items()},
            "cores": cores,
            "gmac_per_s": round(median["lockstep"] * net.network.macs / 1e9, 1),
            "rounds": options.rounds,
            "variants": {name: variant for name, (variant, _) in contestants.items()},
        },
    }
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
