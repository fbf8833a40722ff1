"""TPU paper's CNN1, shapes invented.

python -m configs show tpu_cnn1

Published: 72 convolutions, 13 poolings and 4 fully connected layers, ReLU, 100M weights,
batch 32, 1750 MACs a weight byte, so each weight is used 1750 / 32 = 54.7 times for one
image. Nothing is known of the shapes. Invented: equal convolutions of 3 x 3 on one map and
equal square matrices, such that both sums come out (`tpu_apps.pooled_cnn`): maps of 9 x 9
with 321 channels, matrices of 2889 x 2889, 100.2M weights, 54.3 MACs a weight.

No anchor: the paper's own figures for CNN1 contradict each other (14.1 TOPS at 4,700
inferences a second is 3.0 G operations each, 1750 MACs a weight byte are 10.9 G). Use it
for its size, not to judge a model.
"""

from configs.network import Network
from configs.tpu_apps import pooled_cnn


def get_network() -> Network:
    return pooled_cnn(weights=100_000_000, macs_per_weight=1750 / 32)
