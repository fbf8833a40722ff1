"""Skip connections on MNIST digits.

python -m train --config mnist_resnet8

Eight layers with weights on the longest way: one, three blocks of two, and the last.

References:
  He et al., arXiv:1512.03385, figure 2; batch normalisation as there, section 3.4.
"""

from configs.network import Conv, Dense, GlobalPool, Layer, Network, Pool, Residual
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def block(channels: int, features: int, stride: int) -> Residual:
    """Two 3 x 3 convolutions; a 1 x 1 beside them where the shape changes."""
    step = (stride, stride)
    same = dict(features=features, padding="zero", norm="batch")
    body = (Conv(**same, stride=step), Conv(**same, activation="identity"))
    if channels == features and stride == 1:
        return Residual(body=body)
    beside = Conv(
        features=features, kernel=(1, 1), stride=step, activation="identity", norm="batch"
    )
    return Residual(body=body, shortcut=(beside,))


def get_config() -> Experiment:
    layers: tuple[Layer, ...] = (
        Conv(features=16, padding="zero", norm="batch"),
        Pool(),
        block(16, 24, 1),
        block(24, 48, 2),
        block(48, 96, 2),
        GlobalPool(),
        Dense(features=10, activation="identity"),
    )
    return Experiment(
        name="mnist_resnet8",
        network=Network(input_shape=(28, 28, 1), layers=layers),
        data=Data(name="mnist"),
        augment=Augment(shift_px=2, rotate_deg=10),
        optimizer=Optimizer(learning_rate=4e-3, warmup=0.1, weight_decay=0.05),
        train=Train(epochs=24, precision="bfloat16"),
    )
