"""What Vector is asked to do: which values, at which distances, shifted by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from accel.tpu.isa.isa import OPERAND_NAMES
from accel.tpu.isa.program import Tensor
from configs import program as nodes
from configs.errors import InputError
from configs.program import Step

# Of what is stored as it is.
_MOVED = {"shift_ab": 0, "shift_cd": 0, "rescaled": 0}


@dataclass(frozen=True, kw_only=True)
class Term:
    """A value, or the product of two, times 2^exponent."""

    factors: tuple[str, ...]
    exponent: int


def terms(step: Step, exponents: Mapping[str, int]) -> tuple[Term, ...]:
    """What an Activate brings back, as a sum of terms.

    Args:
      exponents: of every value that the step takes.

    Raises:
      InputError: a sum of three terms or more.
    """
    by_name = {node.name: node for node in step.nodes}

    def of(name: str) -> tuple[Term, ...]:
        node = by_name.get(name)
        if isinstance(node, nodes.Add):
            return sum((of(one) for one in node.inputs), ())
        if isinstance(node, nodes.Mul):
            exponent = sum(exponents[one] for one in node.inputs)
            return (Term(factors=node.inputs, exponent=exponent),)
        return (Term(factors=(name,), exponent=exponents[name]),)

    found = of(step.activate.input)
    if len(found) > 2:
        raise InputError(
            f"`{step.name}` adds {len(found)} values; the activation unit of the TPU adds "
            f"two: activate the sum of the first two."
        )
    return found


def summed(step: Step, tensors: Mapping[str, Tensor], exponents: Mapping[str, int]) -> dict:
    """Registers of Vector for a step that brings back a sum of products of values."""
    found, shape = terms(step, exponents), step.shape
    low = min(term.exponent for term in found)
    spread = any(tensors[name].shape != shape for term in found for name in term.factors)
    inner = shape[-1] if spread else prod(shape)
    values = {"shift_ab": 0, "shift_cd": 0, "rescaled": 1}
    operands = {}
    for pair, term in zip(("ab", "cd"), found, strict=False):
        values[f"shift_{pair}"] = term.exponent - low
        for name, factor in zip(pair, term.factors, strict=False):
            tensor = tensors[factor]
            alone = tensor.shape != shape
            operands[name] = tensor, 0, 0 if alone else inner
    out = tensors[step.name]
    return values | _registers(operands, out, 0, prod(shape) // inner, inner, inner)


def cut(node: nodes.Slice, source: Tensor, out: Tensor) -> dict:
    """Registers of Vector for a copy of a part of a tensor."""
    row = prod(source.shape[node.axis + 1 :])
    inner = (node.stop - node.start) * row
    operand = source, node.start * row, prod(source.shape[node.axis :])
    return _MOVED | _registers(
        {"a": operand}, out, 0, prod(source.shape[: node.axis]), inner, inner
    )


def joined(node: nodes.Concat, part: Tensor, before: int, out: Tensor) -> dict:
    """Registers of Vector for a copy into a part of a tensor, behind `before` entries."""
    axis = node.axis
    inner, row = prod(part.shape[axis:]), prod(part.shape[axis + 1 :])
    outer = prod(part.shape[:axis])
    return _MOVED | _registers(
        {"a": (part, 0, inner)}, out, before * row, outer, inner, prod(out.shape[axis:])
    )


def zeros(out: Tensor) -> dict:
    """Registers of Vector for a tensor of zeros."""
    return _MOVED | _registers({}, out, 0, 1, out.size, out.size)


def _registers(
    operands: Mapping[str, tuple[Tensor, int, int]],
    out: Tensor,
    before: int,
    outer: int,
    inner: int,
    block: int,
) -> dict:
    """Registers by name. Operands are a tensor, the values before its first and from block
    to block; the output likewise. Addresses are still counted from the tensor's row.
    """
    masks = dict.fromkeys(("operands", "signs", "wide"), 0)
    values: dict[str, int | tuple[Tensor, int]] = {}
    for bit, name in enumerate(OPERAND_NAMES):
        if name not in operands:
            continue
        tensor, first, distance = operands[name]
        masks["operands"] |= 1 << bit
        masks["signs"] |= tensor.signed << bit
        masks["wide"] |= (tensor.element_bytes > 1) << bit
        values[f"{name}_address"] = tensor, (tensor.offset + first) * tensor.element_bytes
        values[f"{name}_image"], values[f"{name}_outer"] = tensor.image, distance
    masks["wide"] |= (out.element_bytes > 1) << len(OPERAND_NAMES)
    return values | masks | {
        "images": out.images, "outer": outer, "inner": inner,
        "out_offset": before * out.element_bytes, "out_image": out.image,
        "out_outer": block,
    }  # fmt: skip
