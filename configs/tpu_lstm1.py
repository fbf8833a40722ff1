"""TPU paper's LSTM1, shapes assumed.

python -m configs show tpu_lstm1

Published: 37 fully connected layers, sigmoid and tanh, 34M weights, batch 96, matrices
of 600 x 600, and 19 vector layers. Assumed: 12 cells of input and state 600, every gate
by itself, so 96 matrices of 600 x 600 (`tpu_apps.py`); 34.6M weights, 1.6 % more than
published. How 37 layers are made of such matrices is not known. One time step is one
inference. The vector layers are not modelled.
"""

from configs.network import Network
from configs.tpu_apps import lstm


def get_network() -> Network:
    return lstm(cells=12, features=600, gates="separate")
