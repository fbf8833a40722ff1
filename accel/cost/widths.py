"""How wide the numbers of a network are: those of a quantised run, or as asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accel.workload.layer import Bits, LayerWorkload
from accel.workload.workload import Workload
from configs.errors import InputError


def narrowed(
    workload: Workload,
    run: Path | None = None,
    *,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
) -> Workload:
    """The workload with the widths of a run that is quantised, or of the options.

    Options hold for all layers, but that the first one's input and the last one's output
    keep 8 bits, as in a quantised network. Factors that are both activations, as in
    attention, are as wide as activations.

    Raises:
      InputError: a layer of the run is not in its quantised network.
    """
    works, named = workload.works, {}
    if run is not None and (run / "quant" / "manifest.json").exists():
        named = _of_run(run / "quant")
    for at, work in enumerate(works):
        if named and work.name not in named:
            raise InputError(
                f"`--run` (={run}) holds no quantised layer {work.name}; quantise it again."
            )
        bits = named.get(work.name, work.bits)
        bits = _asked(bits, at, len(works), weight_bits, activation_bits)
        if work.weight_sets == 0:
            bits = bits._replace(weights=bits.inputs)
        works = (*works[:at], _with(work, bits), *works[at + 1 :])
    return replace(workload, works=works)


def _asked(bits: Bits, at: int, count: int, weights, activations) -> Bits:
    if weights is not None:
        bits = bits._replace(weights=weights)
    if activations is None:
        return bits
    return bits._replace(
        inputs=activations if at else bits.inputs,
        outputs=activations if at < count - 1 else bits.outputs,
    )


def _with(work: LayerWorkload, bits: Bits) -> LayerWorkload:
    return replace(
        work,
        weight_bits=bits.weights,
        activation_bits=bits.inputs,
        output_bits=bits.outputs,
    )


def _of_run(folder: Path) -> dict[str, Bits]:
    from quant import files

    network = files.load(folder).network
    titles = network.program.titles()
    found = {}
    for step in network.walk():
        if step.product is not None:
            bits = Bits(step.weighted.weight_bits, step.input.bits, step.output.bits)
            # A work of products that share weights has the name of those.
            found[titles[step.product.name]] = found[step.product.weights] = bits
    return found


def said(works: Sequence[LayerWorkload]) -> str:
    """Widths of weights and activations in words, as in "W4A4".

    >>> said([LayerWorkload(name="l", row_bytes=1, K=1, N=1, weight_bits=4)])
    'W4A8'
    """
    weights = sorted({work.weight_bits for work in works})
    inner = {w.activation_bits for w in works[1:]} | {w.output_bits for w in works[:-1]}
    values = sorted(inner or {work.activation_bits for work in works})
    return "".join(
        f"{letter}{'/'.join(map(str, some))}"
        for letter, some in (("W", weights), ("A", values))
    )
