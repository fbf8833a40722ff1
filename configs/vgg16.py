"""VGG-16, 1,000 classes, not trained.

python -m configs show vgg16

References:
  Simonyan and Zisserman, arXiv:1409.1556, table 1, column D.
"""

from configs.network import Conv, Dense, Flatten, Layer, Network, Pool


def get_network() -> Network:
    blocks = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
    layers: list[Layer] = []
    for convolutions, features in blocks:
        layers += [Conv(features=features, padding="zero")] * convolutions
        layers.append(Pool())
    layers += [
        Flatten(),
        Dense(features=4096),
        Dense(features=4096),
        Dense(features=1000, activation="identity"),
    ]
    return Network(input_shape=(224, 224, 3), layers=tuple(layers))
