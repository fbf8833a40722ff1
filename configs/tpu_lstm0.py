"""TPU paper's LSTM0, shapes assumed.

python -m configs show tpu_lstm0

Published: 24 fully connected layers, sigmoid and tanh, 52M weights, batch 64, and 34
vector layers. Assumed: the 24 are 6 cells of 4 gates, input and state of 1024, the four
gates of a cell joined into one product of K = 2048 and N = 4096 (`tpu_apps.py`); 50.3M
weights, 3.2 % fewer than published. 1024 is the width of four whole tiles next to the
1041 that 52M weights would give. One time step is one inference. The vector layers are
not modelled.
"""

from configs.network import Network
from configs.tpu_apps import lstm


def get_network() -> Network:
    return lstm(cells=6, features=1024, gates="joined")
