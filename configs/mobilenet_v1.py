"""MobileNet v1, width 1.0, not trained.

python -m configs show mobilenet_v1

Assumptions: batch normalisation is folded into the convolution before it. The last
depthwise convolution has stride 1, where the paper's table prints 2: only that gives the
7 x 7 map of the next row. Its activation is ReLU.

References:
  Howard et al., arXiv:1704.04861, table 1; counts in table 4.
"""

from configs.network import Conv, Dense, GlobalPool, Layer, Network

# Stride of each depthwise convolution, and features of the 1 x 1 after it.
_PAIRS = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512),
    (1, 512), (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024),
)  # fmt: skip


def get_network() -> Network:
    channels = 32
    layers: list[Layer] = [Conv(features=channels, stride=(2, 2), padding="zero")]
    for stride, features in _PAIRS:
        depthwise = Conv(
            features=channels, groups=channels, stride=(stride, stride), padding="zero"
        )
        layers += [depthwise, Conv(features=features, kernel=(1, 1))]
        channels = features
    layers += [GlobalPool(), Dense(features=1000, activation="identity")]
    return Network(input_shape=(224, 224, 3), layers=tuple(layers))
