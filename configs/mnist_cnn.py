"""Two convolutions on MNIST digits.

python -m train --config mnist_cnn
"""

from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="mnist_cnn",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Conv(features=16),
                Pool(),
                Conv(features=32),
                Pool(),
                Flatten(),
                Dense(features=64),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(name="mnist"),
        augment=Augment(shift_px=2, rotate_deg=10),
        optimizer=Optimizer(learning_rate=3e-3, warmup=0.1, weight_decay=0.05),
        train=Train(epochs=60),
    )
