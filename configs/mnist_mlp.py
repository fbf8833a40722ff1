"""Three dense layers on MNIST digits.

python -m train --config mnist_mlp
"""

from configs.network import Dense, Flatten, Network
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="mnist_mlp",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Flatten(),
                Dense(features=256),
                Dense(features=128),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(name="mnist"),
        augment=Augment(shift_px=1),
        optimizer=Optimizer(learning_rate=2e-3),
        train=Train(epochs=40),
    )
