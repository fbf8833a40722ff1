"""Re-validates an exported network with nothing but its files.

Hashes say whether a file is the one that was written. If someone changed a file and its
hash, the comparison says it: every export holds the same numbers, and each must be what
the integer network would write.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quant import equivalence, exports, files, golden, untrusted
from quant.network import IntNetwork

# Random images that every runtime executes, beside a black and a white one.
_RANDOM = 64


def check(folder: Path, *, threads: int = 1) -> dict[str, str]:
    """What was checked: "" where it holds, else a sentence.

    Raises:
      InputError: manifest or tensors cannot be trusted; nothing else can be checked then.
    """
    stored = files.load(folder)
    network, listed = stored.network, stored.manifest["files"]
    results = {"manifest.json": "", "model.safetensors": ""}
    results |= {name: "" for name in listed if "/" not in name}
    broken = files.verify_files(folder, stored.manifest)
    results["hashes"] = "; ".join(broken)
    contents = {}
    for name in exports.FORMATS:
        form = exports.module(name)
        if form.FILE not in listed:
            continue
        content = _content(folder, form.FILE, listed[form.FILE]["bytes"])
        found = form.differences(content, network)
        results[form.FILE] = f"differs from the integer network: {found}" if found else ""
        if not found:
            contents[name] = content
    if any(name.startswith("golden/") for name in listed):
        results["golden/"] = golden.differences(folder, network) or ""
    images = _images(network)
    expected, verdict = equivalence.judge(network, images)
    results["numpy"] = verdict.first
    for runtime in equivalence.runtimes(network, contents, threads):
        found = equivalence.compare(network, runtime, images, expected)
        results[runtime.name] = found.first
    return results


def _content(folder: Path, name: str, size: int) -> bytes:
    """At most one byte more than the manifest announces."""
    with untrusted.open_inside(folder, name) as file:
        return file.read(size + 1)


def _images(network: IntNetwork) -> np.ndarray:
    """Noise, and the images that drive sums to their ends: all black and all white."""
    shape = network.network.input_shape
    noise = np.random.default_rng(0).integers(0, 256, (_RANDOM, *shape), dtype=np.uint8)
    ends = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    return np.concatenate([noise, ends])
