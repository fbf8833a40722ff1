"""Templates of the pages, and the hashes by which a page's policy names what is in it."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources


def template(name: str) -> str:
    """The text of a file in accel/show/templates/."""
    return resources.files("accel.show").joinpath("templates", name).read_text("utf-8")


def source_hash(text: str) -> str:
    """An inline script or style as a Content-Security-Policy names it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
