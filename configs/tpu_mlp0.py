"""TPU paper's MLP0, shapes assumed.

python -m configs show tpu_mlp0

Published: 5 fully connected layers, ReLU, 20M weights, batch 200. Assumed: all equal and
square, 2000 x 2000 (`tpu_apps.py`); 20.0M weights.
"""

from configs.network import Network
from configs.tpu_apps import square_mlp


def get_network() -> Network:
    return square_mlp(layers=5, weights=20_000_000)
