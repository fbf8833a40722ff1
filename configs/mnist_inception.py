"""Inception modules on MNIST digits.

python -m train --config mnist_inception

References:
  Szegedy et al., arXiv:1409.4842, figure 2b.
"""

from configs.network import Concat, Conv, Dense, GlobalPool, Layer, Network, Pool
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def module(narrow: int, one: int, three: int, five: int, pooled: int) -> Concat:
    """1 x 1; 1 x 1 and 3 x 3; 1 x 1 and two 3 x 3, which see 5 x 5; pooling and 1 x 1."""
    same = dict(norm="batch", padding="zero")
    point = lambda features: Conv(features=features, kernel=(1, 1), norm="batch")
    return Concat(
        branches=(
            (point(one),),
            (point(narrow), Conv(features=three, **same)),
            (point(narrow), Conv(features=five, **same), Conv(features=five, **same)),
            (Pool(window=(3, 3), stride=(1, 1), padding="zero"), point(pooled)),
        )
    )


def get_config() -> Experiment:
    layers: tuple[Layer, ...] = (
        Conv(features=16, norm="batch"),
        Pool(),
        module(16, 16, 24, 16, 8),
        Pool(),
        module(24, 24, 40, 24, 16),
        Pool(window=(3, 3), stride=(2, 2)),
        Conv(features=96, kernel=(2, 2), norm="batch"),
        GlobalPool(),
        Dense(features=10, activation="identity"),
    )
    return Experiment(
        name="mnist_inception",
        network=Network(input_shape=(28, 28, 1), layers=layers),
        data=Data(name="mnist"),
        augment=Augment(shift_px=2, rotate_deg=10),
        optimizer=Optimizer(learning_rate=4e-3, warmup=0.1, weight_decay=0.05),
        train=Train(epochs=20, precision="bfloat16"),
    )
