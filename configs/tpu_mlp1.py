"""TPU paper's MLP1, shapes assumed.

python -m configs show tpu_mlp1

Published: 4 fully connected layers, ReLU, 5M weights, batch 168. Assumed: all equal and
square, 1118 x 1118 (`tpu_apps.py`); 5.0M weights. Such matrices fill the tiles of 256 x
256 less than the published counters say, so the real layers were not equal.
"""

from configs.network import Network
from configs.tpu_apps import square_mlp


def get_network() -> Network:
    return square_mlp(layers=4, weights=5_000_000)
