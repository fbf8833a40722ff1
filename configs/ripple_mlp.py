"""Dense layers fit z = f(x, y).

python -m train --config ripple_mlp
"""

from configs.network import Dense, Network
from configs.schema import Data, Experiment, Optimizer, Train


def get_config() -> Experiment:
    return Experiment(
        name="ripple_mlp",
        task="regression",
        network=Network(
            input_shape=(2,),
            layers=(
                Dense(features=128),
                Dense(features=128),
                Dense(features=1, activation="identity"),
            ),
        ),
        data=Data(name="ripple"),
        optimizer=Optimizer(learning_rate=5e-3, weight_decay=0.0),
        train=Train(epochs=400, batch=128, microbatch=0),
        widths=(4, 16, 64),
    )
