"""AlexNet in two groups, not trained.

python -m configs show alexnet

Assumptions: the input is 227 x 227, not the 224 of the text, since only that gives maps
of 55 x 55. The second, fourth and fifth convolution are in two groups, which the paper
put on two GPUs. Local response normalisation is left out.

References:
  Krizhevsky et al., ImageNet classification with deep convolutional neural networks,
  NIPS 2012, section 3.5 and figure 2.
"""

from configs.network import Conv, Dense, Flatten, Network, Pool


def get_network() -> Network:
    pool = Pool(window=(3, 3), stride=(2, 2))
    return Network(
        input_shape=(227, 227, 3),
        layers=(
            Conv(features=96, kernel=(11, 11), stride=(4, 4)),
            pool,
            Conv(features=256, kernel=(5, 5), padding="zero", groups=2),
            pool,
            Conv(features=384, padding="zero"),
            Conv(features=384, padding="zero", groups=2),
            Conv(features=256, padding="zero", groups=2),
            pool,
            Flatten(),
            Dense(features=4096),
            Dense(features=4096),
            Dense(features=1000, activation="identity"),
        ),
    )
