"""ResNet-18, 1,000 classes, not trained.

python -m configs show resnet18

Assumptions: batch normalisation is folded into the convolutions (`resnets.py`); where
the features change, the shortcut is a 1 x 1 convolution (the paper's option B).

References:
  He et al., arXiv:1512.03385, table 1, column 18-layer.
"""

from configs.network import Network
from configs.resnets import basic, resnet


def get_network() -> Network:
    return resnet(basic, blocks=(2, 2, 2, 2), features=(64, 128, 256, 512))
