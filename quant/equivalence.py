"""The proof that every runtime computes the same network, to the last bit.

The judge is `normative.py`. Every logit of every image is compared, tolerance zero; where
one differs, the first layer that does is found from the runtime's own tensors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from quant import exports, normative
from quant.network import IntNetwork

Run = Callable[[np.ndarray], np.ndarray]
Layers = Callable[[np.ndarray], Mapping[str, np.ndarray]]

# Images whose products the judge also takes in 64-bit integers; for the others it uses
# float64, which is exact below 2^53.
_IN_INTEGERS = 100


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Something that executes the network."""

    name: str
    run: Run
    # Every layer's output, by name.
    layers: Layers


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How many logits of a runtime differ from the judge's."""

    runtime: str
    images: int
    logits: int
    mismatches: int
    # Where the first one comes from; "" if there is none.
    first: str
    wall_s: float

    def data(self) -> dict:
        found = {"images": self.images, "logits": self.logits}
        found |= {"mismatches": self.mismatches, "wall_s": round(self.wall_s, 3)}
        return found | ({"first_mismatch": self.first} if self.first else {})


def runtimes(
    network: IntNetwork, contents: Mapping[str, bytes], threads: int = 1
) -> Iterator[Runtime]:
    """The JAX path, and for each exported file (content by format) its own runtime."""
    from quant import fast

    yield Runtime(
        name="jax", run=fast.compile(network), layers=lambda x: fast.layers(network, x)
    )
    for name, content in contents.items():
        form = exports.module(name)
        yield Runtime(
            name=form.RUNTIME,
            run=form.open_session(content, threads=threads),
            layers=lambda x, form=form, content=content: form.layer_outputs(
                content, network, x
            ),
        )


def judge(network: IntNetwork, images: np.ndarray) -> tuple[np.ndarray, Verdict]:
    """What is right, and how the judge's two ways to multiply compare."""
    began = time.monotonic()
    expected = normative.run(network, images)
    some = images[:_IN_INTEGERS]
    in_integers = normative.run(network, some, matmul=normative.matmul)
    wrong = int(np.sum(in_integers != expected[: len(some)]))
    verdict = Verdict(
        runtime="numpy",
        images=len(images),
        logits=expected.size,
        mismatches=wrong,
        first="float64 products differ from those in 64-bit integers" if wrong else "",
        wall_s=time.monotonic() - began,
    )
    return expected, verdict


def compare(
    network: IntNetwork, runtime: Runtime, images: np.ndarray, expected: np.ndarray
) -> Verdict:
    """A runtime against what is right."""
    began = time.monotonic()
    found = runtime.run(images)
    wall_s = time.monotonic() - began
    if found.shape != expected.shape or found.dtype != expected.dtype:
        mismatches = expected.size
        first = f"it gives {found.dtype}{list(found.shape)}"
        first += f", not {expected.dtype}{list(expected.shape)}"
    else:
        wrong = np.argwhere(found != expected)
        mismatches = len(wrong)
        first = _first(network, runtime, images, wrong[0]) if mismatches else ""
    return Verdict(
        runtime=runtime.name,
        images=len(images),
        logits=expected.size,
        mismatches=mismatches,
        first=first,
        wall_s=wall_s,
    )


def _first(network: IntNetwork, runtime: Runtime, images: np.ndarray, at) -> str:
    image = int(at[0])
    one = images[image : image + 1]
    found = runtime.layers(one)
    for step in normative.steps(network, one):
        sentence = difference(step.layer.name, found[step.layer.name], step.output)
        if sentence:
            return f"image {image}: {sentence}"
    return f"image {image}: no layer differs when this image runs alone"


def difference(name: str, found: np.ndarray, expected: np.ndarray) -> str:
    """The first value of one image's tensor (1, ...) that is not as expected, or ""."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return (
            f"`{name}` is {found.dtype}{list(found.shape)}, not "
            f"{expected.dtype}{list(expected.shape)}"
        )
    wrong = np.argwhere(found != expected)
    if not len(wrong):
        return ""
    at = tuple(wrong[0])
    place = ", ".join(str(int(i)) for i in at[1:])
    return f"`{name}` at ({place}) is {found[at]}, not {expected[at]}"


def prove(
    network: IntNetwork,
    contents: Mapping[str, bytes],
    images: np.ndarray,
    *,
    threads: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[Verdict], np.ndarray]:
    """The judge and all runtimes over all images: verdicts, and the right logits."""
    say(f"Comparing every logit of {len(images):,} images: numpy")
    expected, verdict = judge(network, images)
    verdicts = [verdict]
    for runtime in runtimes(network, contents, threads):
        say(f"Comparing every logit of {len(images):,} images: {runtime.name}")
        verdicts.append(compare(network, runtime, images, expected))
    return verdicts, expected
