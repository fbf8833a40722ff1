"""An LSTM over the rows of MNIST digits.

python -m train --config mnist_lstm

References:
  Hochreiter and Schmidhuber 1997, Neural Computation 9(8); rows as steps: Le et al.,
  arXiv:1504.00941, section 4.2 (there pixel by pixel).
"""

from configs.network import Dense, Lstm, Network
from configs.schema import Augment, Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="mnist_lstm",
        network=Network(
            input_shape=(28, 28, 1),
            layers=(Lstm(features=64), Dense(features=10, activation="identity")),
        ),
        data=Data(name="mnist"),
        augment=Augment(shift_px=1),
        optimizer=Optimizer(learning_rate=4e-3, warmup=0.1, weight_decay=0.01),
        train=Train(epochs=16, microbatch=0),
    )
