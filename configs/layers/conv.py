"""2-D convolution: ordinary, in groups, depthwise, dilated, turning with the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from configs.checks import check_types, require, require_positive
from configs.errors import InputError
from configs.layers.layer import Layer, added, require_image, same_paddings, window_text
from configs.program import ORIENTATIONS, Builder, Ends, Function, Misplaced, Shape

Padding = Literal["valid", "zero", "mean", "edge"]


@dataclass(frozen=True, kw_only=True)
class Conv(Layer):
    """2-D convolution with bias, then an activation; weights are (R, S, C / groups, F).

    With a symmetry (a group convolution, Cohen and Welling 2016, arXiv:1602.07576,
    sections 4.2 and 6) the features are maps in four orientations, orientation slowest:
    channel r * (F / 4) + m is map m, its filter turned r times 90 degrees
    counter-clockwise. A quarter of the weights and biases is independent and counted.
    """

    # Output channels F.
    features: int
    # Kernel height R and width S.
    kernel: tuple[int, int] = (3, 3)
    # Step in H and in W.
    stride: tuple[int, int] = (1, 1)
    # What stands outside the image: "valid" nothing (ignore), "zero", "mean" (average
    # of the channel) or "edge" (extend edge); all but "valid" keep ceil(H / stride).
    padding: Padding = "valid"
    # Applied to the output, element by element.
    activation: Function = "relu"
    # Parts that channels and features fall into, each with weights of its own; as many
    # as there are channels make it depthwise, with `features` / channels for each.
    groups: int = added(1)
    # "lift" takes plain channels and "p4" channels that have orientations; both give
    # `features` / 4 maps in 4 orientations, equivariant where strides fit the size.
    symmetry: Literal["none", "lift", "p4"] = added("none")
    # Distance of neighbouring taps in H and in W.
    dilation: tuple[int, int] = added((1, 1))
    # "batch": sums are normalised over the batch while training (Ioffe and Szegedy 2015,
    # arXiv:1502.03167), and folded into weights and biases before quantisation.
    norm: Literal["none", "batch"] = added("none")

    def __post_init__(self) -> None:
        check_types(self)
        require_positive(self, "features", "kernel", "stride", "groups", "dilation")
        divides = self.features % self.groups == 0
        require(self, divides, "groups", f"must divide `features` (={self.features}).")
        if self.symmetry != "none":
            self._check_symmetry()

    def _check_symmetry(self) -> None:
        oriented = f"must be {{}} with `symmetry` (={self.symmetry}); use {{}}."
        whole = self.features % ORIENTATIONS == 0
        more = ORIENTATIONS * -(-self.features // ORIENTATIONS)
        require(self, whole, "features", oriented.format("a multiple of 4", more))
        for name in ("kernel", "stride", "dilation"):
            first, second = getattr(self, name)
            rule = oriented.format("as high as wide", (first, first))
            require(self, first == second, name, rule)
        require(self, self.groups == 1, "groups", oriented.format("1", 1))
        plain = self.norm == "none"
        require(self, plain, "norm", oriented.format("'none'", "'none'"))

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the input from the first tap to the last."""
        (r, s), (down, right) = self.kernel, self.dilation
        return (r - 1) * down + 1, (s - 1) * right + 1

    def pads(self, shape: Shape) -> tuple[Ends, Ends]:
        """Rows added at the top and bottom, columns added at the left and right."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        return same_paddings(shape, self.extent, self.stride)

    def lower(self, b: Builder, x: str) -> str:
        shape = b.shape(x)
        require_image("Conv", shape)
        require_orientation(b, x, self.symmetry)
        if shape[2] % self.groups:
            raise InputError(
                f"`groups` (={self.groups}) of Conv must divide the channels of its input "
                f"{shape}; use 1, or {shape[2]} for a depthwise convolution."
            )
        pads = self.pads(shape)
        for axis, pad, extent in zip(shape[:2], pads, self.extent, strict=True):
            if axis + sum(pad) < extent:
                raise InputError(
                    f"`kernel` (={self.kernel}) of Conv must fit into its input "
                    f"{shape}; use a smaller kernel, padding='zero', or pool less."
                )
        if self.padding != "valid":
            x = b.pad(x, self.padding, pads)
        sums = b.product(
            x, self.features, kernel=self.kernel, stride=self.stride,
            dilation=self.dilation, groups=self.groups, symmetry=self.symmetry,
            norm=self.norm,
        )  # fmt: skip
        return b.activate(sums, self.activation)

    def orients(self, b: Builder, before: str, after: str) -> bool:
        return self.symmetry != "none"

    def brief(self) -> str:
        window = window_text(self.kernel, self.stride, usual=(1, 1))
        groups = f" {self.groups} groups" if self.groups > 1 else ""
        wide = self.dilation != (1, 1)
        dilated = f" dilated {window_text(self.dilation, (1, 1), (1, 1))}" if wide else ""
        norm = " norm" if self.norm != "none" else ""
        turning = f" {self.symmetry}" if self.symmetry != "none" else ""
        return f"{window} {self.padding}{norm} {self.activation}{groups}{dilated}{turning}"


def require_orientation(b: Builder, x: str, symmetry: str) -> None:
    """Refuses a layer with a symmetry on channels of the other kind."""
    oriented = x in b.oriented
    if b.checked and symmetry != "none" and oriented is not (symmetry == "p4"):
        takes = "that have orientations" if symmetry == "p4" else "without orientations"
        raise Misplaced(
            f"`{b.where}.symmetry` (={symmetry}) takes channels {takes}: the "
            f"first Conv of a symmetric network is 'lift', all after it are 'p4', and "
            f"a Dense 'p4' follows GlobalPool."
        )
