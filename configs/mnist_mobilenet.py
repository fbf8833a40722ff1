"""A small MobileNet on MNIST digits.

python -m train --config mnist_mobilenet

As MobileNet v1: depthwise and 1 x 1 convolutions in turn, features doubled where the map
halves, activations cut off at 6. The first depthwise convolution makes two features of
each channel.

References:
  Howard et al., arXiv:1704.04861, table 1.
"""

from configs.network import Conv, Dense, GlobalPool, Layer, Network
from configs.schema import Augment, Data, Experiment, Optimizer, Train

# Features for each channel and stride of a depthwise convolution, features of the 1 x 1.
_PAIRS = ((2, 1, 32), (1, 2, 64), (1, 1, 64), (1, 2, 96))


def get_config() -> Experiment:
    channels = 16
    same = dict(activation="relu6", norm="batch")
    layers: list[Layer] = [
        Conv(features=channels, kernel=(5, 5), stride=(2, 2), padding="zero", **same)
    ]
    for multiplier, stride, features in _PAIRS:
        wide = multiplier * channels
        layers += [
            Conv(features=wide, groups=channels, stride=(stride, stride), padding="zero",
                 **same),
            Conv(features=features, kernel=(1, 1), **same),
        ]  # fmt: skip
        channels = features
    layers += [GlobalPool(), Dense(features=10, activation="identity")]
    return Experiment(
        name="mnist_mobilenet",
        network=Network(input_shape=(28, 28, 1), layers=tuple(layers)),
        data=Data(name="mnist"),
        augment=Augment(shift_px=2, rotate_deg=10),
        optimizer=Optimizer(learning_rate=4e-3, warmup=0.1, weight_decay=0.05),
        train=Train(epochs=24, precision="bfloat16"),
    )
