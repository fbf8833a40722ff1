"""Padded convolutions on Fashion-MNIST.

python -m train --config fashion_cnn
"""

from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="fashion_cnn",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Conv(features=32, padding="zero"),
                Pool(),
                Conv(features=64, padding="zero"),
                Pool(),
                Flatten(),
                Dense(features=128),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(name="fashion_mnist", validation=5000),
        augment=Augment(shift_px=1),
        optimizer=Optimizer(learning_rate=2e-3, label_smoothing=0.05),
        train=Train(epochs=40, patience=10),
    )
