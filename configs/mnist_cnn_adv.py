"""Robust to small changes of every pixel.

python -m train --config mnist_cnn_adv
"""

from configs.network import Conv, Dense, Flatten, Network
from configs.robust import Robust
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="mnist_cnn_adv",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(
                Conv(features=32, kernel=(4, 4), stride=(2, 2), padding="zero"),
                Conv(features=64, kernel=(4, 4), stride=(2, 2), padding="zero"),
                Flatten(),
                Dense(features=100),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(name="mnist"),
        # Against learning the training images, and their worst changes, by heart.
        augment=Augment(shift_px=1.5, rotate_deg=10),
        optimizer=Optimizer(learning_rate=2e-3, warmup=0.02, schedule="linear"),
        robust=Robust(method="pgd", eps=0.3, weight=1.0, warmup=0.02, rampup=0.3, steps=5),
        train=Train(epochs=24),
    )
