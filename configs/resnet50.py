"""ResNet-50, 1,000 classes, not trained.

python -m configs show resnet50

Assumptions: batch normalisation is folded into the convolutions (`resnets.py`); where
the features change, the shortcut is a 1 x 1 convolution (option B); the stride is in the
3 x 3 convolution, as in the models in common use (4.1 GMAC), not in the first 1 x 1, as
in the paper (3.8 GMAC).

References:
  He et al., arXiv:1512.03385, table 1, column 50-layer.
"""

from configs.network import Network
from configs.resnets import bottleneck, resnet


def get_network() -> Network:
    return resnet(bottleneck, blocks=(3, 4, 6, 3), features=(256, 512, 1024, 2048))
