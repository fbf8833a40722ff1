"""Four padded convolutions on CIFAR-10.

python -m train --config cifar10_cnn
"""

from configs.network import Conv, Dense, Flatten, Network, Pool
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="cifar10_cnn",
        network=Network(
            input_shape=(32, 32, 3),
            layers=(
                Conv(features=32, padding="zero"),
                Conv(features=32, padding="zero"),
                Pool(),
                Conv(features=64, padding="zero"),
                Pool(),
                Conv(features=64, padding="zero"),
                Pool(),
                Flatten(),
                Dense(features=128),
                Dense(features=10, activation="identity"),
            ),
        ),
        data=Data(name="cifar10", validation=5000),
        augment=Augment(shift_px=3, rotate_deg=5),
        optimizer=Optimizer(learning_rate=1e-3, label_smoothing=0.05),
        train=Train(epochs=40, patience=10),
    )
