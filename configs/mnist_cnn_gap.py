"""Convolutions and global mean on MNIST.

python -m train --config mnist_cnn_gap
"""

from configs.network import Conv, Dense, GlobalPool, Network, Pool
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="mnist_cnn_gap",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Conv(features=16, padding="zero"),
                Pool(),
                Conv(features=32, padding="zero"),
                Pool(),
                Conv(features=64, padding="zero"),
                GlobalPool(kind="mean"),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(name="mnist"),
        augment=Augment(shift_px=2, rotate_deg=10),
        optimizer=Optimizer(learning_rate=3e-3),
        train=Train(epochs=30),
    )
