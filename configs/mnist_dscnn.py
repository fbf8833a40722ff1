"""Depthwise convolutions on MNIST digits.

python -m train --config mnist_dscnn

Each block is a depthwise 3 x 3 convolution, which looks at one channel at a time, and a
1 x 1, which mixes channels: the keyword-spotting network DS-CNN, for images.

References:
  Zhang et al., Hello Edge, arXiv:1711.07128, section 3.5.
"""

from configs.network import Conv, Dense, GlobalPool, Layer, Network
from configs.schema import Augment, Data, Experiment, Optimizer, Train

_FEATURES = 64


def get_config() -> Experiment:
    layers: list[Layer] = [
        Conv(features=_FEATURES, kernel=(5, 5), stride=(2, 2), padding="zero", norm="batch")
    ]
    for stride in (1, 2, 1, 1):
        layers += [
            Conv(
                features=_FEATURES, groups=_FEATURES, stride=(stride, stride),
                padding="zero", norm="batch",
            ),
            Conv(features=_FEATURES, kernel=(1, 1), norm="batch"),
        ]  # fmt: skip
    layers += [GlobalPool(), Dense(features=10, activation="identity")]
    return Experiment(
        name="mnist_dscnn",
        network=Network(input_shape=(28, 28, 1), layers=tuple(layers)),
        data=Data(name="mnist"),
        augment=Augment(shift_px=2, rotate_deg=10),
        optimizer=Optimizer(learning_rate=4e-3, warmup=0.1, weight_decay=0.05),
        train=Train(epochs=20, precision="bfloat16"),
    )
