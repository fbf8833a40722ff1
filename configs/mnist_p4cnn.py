"""Group convolutions on rotated MNIST.

python -m train --config mnist_p4cnn
"""

from configs.network import Conv, Dense, GlobalPool, Network, Pool
from configs.schema import Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="mnist_p4cnn",
        # Sizes that every window divides (28, 24, 12, 10, 5, 3, 1), so that a turn of the
        # image by 90 degrees leaves the outputs as they are.
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Conv(features=32, kernel=(5, 5), symmetry="lift"),
                Pool(),
                Conv(features=32, symmetry="p4"),
                Pool(),
                Conv(features=48, symmetry="p4"),
                Conv(features=64, symmetry="p4"),
                GlobalPool(),
                Dense(features=10, activation="identity", symmetry="p4"),
            ),
        ),
        data=Data(name="mnist", limit=12_000, rotated=True),
        optimizer=Optimizer(learning_rate=1e-2, warmup=0.1, weight_decay=0.05),
        train=Train(epochs=15),
    )
