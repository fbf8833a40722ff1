"""mnist_cnn in a few epochs.

python -m train --config mnist_cnn_fast
"""

import dataclasses

from configs import mnist_cnn
from configs.schema import Augment, Experiment, Train


def get_config() -> Experiment:
    return dataclasses.replace(
        mnist_cnn.get_config(),
        name="mnist_cnn_fast",
        augment=Augment(shift_px=1),
        train=Train(epochs=6),
    )
