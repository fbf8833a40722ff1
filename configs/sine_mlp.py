"""Dense layers fit y = f(x).

python -m train --config sine_mlp
"""

from configs.network import Dense, Network
from configs.schema import Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="sine_mlp",
        task="regression",
        network=Network(
            input_shape=(1,),
            layers=(
                Dense(features=64),
                Dense(features=64),
                Dense(features=1, activation="identity"),
            ),
        ),
        data=Data(name="sine"),
        optimizer=Optimizer(learning_rate=1e-2, weight_decay=0.0),
        train=Train(epochs=1000, batch=16, microbatch=0),
        widths=(2, 4, 8, 16, 32, 64),
    )
