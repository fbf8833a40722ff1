"""Robustness that intervals can prove.

python -m train --config mnist_cnn_ibp
"""

from configs.network import Conv, Dense, Flatten, Network
from configs.robust import Robust
from configs.schema import Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="mnist_cnn_ibp",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Conv(features=16, kernel=(4, 4), stride=(2, 2)),
                Conv(features=32, kernel=(4, 4)),
                Flatten(),
                Dense(features=100),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(name="mnist"),
        optimizer=Optimizer(learning_rate=3e-3, warmup=0.02, schedule="linear"),
        # A little more than the budget that is asked about, eps 0.1.
        robust=Robust(method="ibp", eps=0.15, weight=0.75, warmup=0.05, rampup=0.4),
        train=Train(epochs=24),
    )
