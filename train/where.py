"""Where the data of a finished run is now, if not where it was trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from configs.checks import check_types, require
from configs.errors import InputError
from configs.schema import Data

if TYPE_CHECKING:
    from train.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the data of the run is now; its SHA-256 must be that of the training."""

    # The .npz file or folder of your own images, if it was moved.
    path: str | None = None
    # TFDS data directory, if it is not where it was.
    dir: str | None = None
    # Another source of the same set.
    source: Literal["auto", "tfds", "download", "embedded"] | None = None

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("path", "dir"):
            given = getattr(self, name) != ""
            require(self, given, name, "must not be empty; name a file or leave it out.")

    def require_run(self, given: bool) -> None:
        """Refuses a place of data where there is no run."""
        words = options(self)
        if words and not given:
            raise InputError(
                f"`{words[0]}` (={words[1]}) says where the data of a run is; give --run, "
                f"or leave it out."
            )

    def of(self, data: Data) -> Data:
        """The same data, looked for here."""
        if self.path is not None and data.path is None:
            raise InputError(
                f"`--data.path` (={self.path}) belongs to a run that was trained on images "
                f"of your own, but this one was trained on {data.name}; give --data.dir, "
                f"or leave it out."
            )
        if data.path is not None and (self.dir, self.source) != (None, None):
            name, value = (
                ("dir", self.dir) if self.dir is not None else ("source", self.source)
            )
            raise InputError(
                f"`--data.{name}` (={value}) belongs to a run on a known image set, but "
                f"this one was trained on images of your own; give --data.path."
            )
        given = {n: v for n, v in dataclasses.asdict(self).items() if v is not None}
        return dataclasses.replace(data, **given)


def options(where: Where) -> list[str]:
    """The words of a command line that say it again."""
    given = ((n, v) for n, v in dataclasses.asdict(where).items() if v is not None)
    return [word for name, value in given for word in (f"--data.{name}", value)]


def same(dataset: Dataset, wanted: str, what: str, *, retrain: str) -> Dataset:
    """The data set, if its SHA-256 is the `wanted` one.

    Args:
        what: begins the sentence that refuses it: the run and what it was made from.
        retrain: the other way out.
    """
    if dataset.sha256 == wanted:
        return dataset
    raise InputError(
        f"{what} with SHA-256 {wanted[:12]}, but the data found now ({dataset.source}) has "
        f"{dataset.sha256[:12]}; name its place with --data.path (your own images) or "
        f"--data.dir and --data.source (known sets), restore it, or {retrain}."
    )
