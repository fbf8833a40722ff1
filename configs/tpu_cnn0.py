"""TPU paper's CNN0, shapes assumed.

python -m configs show tpu_cnn0

Published: 16 convolutions, ReLU, 8M weights, batch 8, 2888 MACs a weight, which is
8 x 19 x 19: every weight meets every point of a Go board, for 8 boards. Assumed: AlphaGo's
network of 256 features, 5 x 5 on 48 planes, then 3 x 3 with zero padding (recalled, not
read in a text). The published 16 layers would hold 9.2M weights; 14 hold 7.98M. The
weights decide the time, so there are 14 layers here, two fewer than published.

References:
  Silver et al., Mastering the game of Go with deep neural networks and tree search,
  Nature 529, 2016. The TPU paper: `tpu_apps.py`.
"""

from configs.network import Conv, Network


def get_network() -> Network:
    first = Conv(features=256, kernel=(5, 5), padding="zero")
    others = (Conv(features=256, padding="zero"),) * 13
    return Network(input_shape=(19, 19, 48), layers=(first, *others))
