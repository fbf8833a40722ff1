"""What the residual networks have in common: how blocks are put together.

Assumptions: batch normalisation is folded into the weights and biases of the
convolution before it, so each convolution has one bias a feature where the published
counts have two numbers. Padding is `zero` with the odd row after the data, where other
programs pad evenly: windows move by a pixel, no count changes.

References:
  He et al., arXiv:1512.03385, table 1.
"""

from __future__ import annotations

from collections.abc import Callable

from configs.network import Conv, Dense, GlobalPool, Layer, Network, Pool, Residual

# Channels before a block, its features, its stride.
Block = Callable[[int, int, int], Residual]


def basic(channels: int, features: int, stride: int) -> Residual:
    """Two 3 x 3 convolutions."""
    body = (
        Conv(features=features, stride=(stride, stride), padding="zero"),
        Conv(features=features, padding="zero", activation="identity"),
    )
    return Residual(body=body, shortcut=_projection(channels, features, stride))


def bottleneck(channels: int, features: int, stride: int) -> Residual:
    """1 x 1 to a quarter of the features, 3 x 3 with the stride, 1 x 1 to all of them."""
    inner = features // 4
    body = (
        Conv(features=inner, kernel=(1, 1)),
        Conv(features=inner, stride=(stride, stride), padding="zero"),
        Conv(features=features, kernel=(1, 1), activation="identity"),
    )
    return Residual(body=body, shortcut=_projection(channels, features, stride))


def resnet(block: Block, blocks: tuple[int, ...], features: tuple[int, ...]) -> Network:
    """Stages of so many blocks and so many features; all but the first halve the map."""
    layers: list[Layer] = [
        Conv(features=64, kernel=(7, 7), stride=(2, 2), padding="zero"),
        Pool(window=(3, 3), stride=(2, 2), padding="zero"),
    ]
    channels = 64
    for stage, (count, wide) in enumerate(zip(blocks, features, strict=True)):
        for index in range(count):
            layers.append(block(channels, wide, 2 if stage and not index else 1))
            channels = wide
    layers += [GlobalPool(), Dense(features=1000, activation="identity")]
    return Network(input_shape=(224, 224, 3), layers=tuple(layers))


def _projection(channels: int, features: int, stride: int) -> tuple[Layer, ...]:
    """A 1 x 1 convolution where the shape changes, else the input itself."""
    if channels == features and stride == 1:
        return ()
    step = (stride, stride)
    return (Conv(features=features, kernel=(1, 1), stride=step, activation="identity"),)
