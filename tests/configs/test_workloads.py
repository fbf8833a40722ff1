"""The networks of the literature hold what was published, added up by hand here."""

import pytest

from configs import registry
from configs.network import Conv, Network, Residual


def biases(network: Network) -> int:
    return network.parameters - network.weights


def test_alexnet():
    """60,965,224 parameters ("60 million") and 724 MMAC.

    [R, S, C / groups, F, positions] of the convolutions, [inputs, F] of the dense ones.
    """
    convolutions = (
        (11, 11, 3, 96, 55 * 55),
        (5, 5, 48, 256, 27 * 27),
        (3, 3, 256, 384, 13 * 13),
        (3, 3, 192, 384, 13 * 13),
        (3, 3, 192, 256, 13 * 13),
    )
    dense = ((6 * 6 * 256, 4096), (4096, 4096), (4096, 1000))
    weights = [r * s * c * f for r, s, c, f, _ in convolutions] + [k * n for k, n in dense]
    network = registry.load_network("alexnet")
    assert [info.weights for info in network.walk() if info.weights] == weights
    assert network.parameters == 60_965_224
    flat = [r * s * c * f * m for r, s, c, f, m in convolutions] + [k * n for k, n in dense]
    assert network.macs == sum(flat) == 724_406_816


def test_resnet18():
    """1.8 GMAC, and the 11,689,512 parameters of the model with batch normalisation.

    That has two numbers for each feature of a convolution, ours one: the folded bias.
    """
    stages = [
        # Positions, and weights of what is at these positions.
        (112 * 112, 7 * 7 * 3 * 64),
        (56 * 56, 4 * 9 * 64 * 64),
        *(
            (size * size, 9 * half * wide + 3 * 9 * wide * wide + half * wide)
            for size, half, wide in ((28, 64, 128), (14, 128, 256), (7, 256, 512))
        ),
        (1, 512 * 1000),
    ]
    network = registry.load_network("resnet18")
    assert network.weights == sum(weights for _, weights in stages) == 11_678_912
    assert network.macs == sum(m * weights for m, weights in stages) == 1_814_073_344
    features = biases(network) - 1000
    assert features == 64 + 4 * 64 + 5 * (128 + 256 + 512)
    assert network.parameters + features == 11_689_512
    assert round(network.macs / 1e9, 1) == 1.8
    assert len([info for info in network.walk() if info.kind == "Residual"]) == 8


def test_resnet50():
    """4.1 GMAC, and the 25,557,032 parameters of the model with batch normalisation."""
    weights, macs, channels = 7 * 7 * 3 * 64, 112 * 112 * 7 * 7 * 3 * 64, 64
    features, before = 64, 56
    for blocks, inner, size in ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)):
        outer = 4 * inner
        for block in range(blocks):
            # The first 1 x 1 still sees the larger map: the stride is in the 3 x 3.
            at = before if block == 0 else size
            reduce, spatial, expand = channels * inner, 9 * inner * inner, inner * outer
            shortcut = channels * outer if block == 0 else 0
            weights += reduce + spatial + expand + shortcut
            macs += at * at * reduce + size * size * (spatial + expand + shortcut)
            features += 2 * inner + outer + (outer if block == 0 else 0)
            channels = outer
        before = size
    network = registry.load_network("resnet50")
    assert network.weights == weights + 2048 * 1000
    assert network.macs == macs + 2048 * 1000
    assert biases(network) == features + 1000
    assert network.parameters + features == 25_557_032
    assert round(network.macs / 1e9, 1) == 4.1
    assert len([leaf for leaf in network.leaves() if leaf.kind == "Conv"]) == 1 + 48 + 4


def test_mobilenet_v1():
    """4.2 M parameters and 569 M multiplications, as in table 4 of the paper."""
    weights, macs, channels, size = 3 * 3 * 3 * 32, 112 * 112 * 3 * 3 * 3 * 32, 32, 112
    features = 32
    for out, stride in [
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
        *[(512, 1)] * 5, (1024, 2), (1024, 1),
    ]:  # fmt: skip
        size //= stride
        weights += 9 * channels + channels * out
        macs += size * size * (9 * channels + channels * out)
        features += channels + out
        channels = out
    network = registry.load_network("mobilenet_v1")
    assert network.weights == weights + 1024 * 1000
    assert network.macs == macs + 1024 * 1000
    assert biases(network) == features + 1000
    assert round(network.macs / 1e6) == 569
    assert round(network.parameters / 1e6, 1) == 4.2
    depthwise = [
        spec for spec in network.layers if isinstance(spec, Conv) and spec.groups > 1
    ]
    assert len(depthwise) == 13


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_every_shortcut_that_changes_nothing_is_the_input_itself(name):
    for info in registry.load_network(name).walk():
        if isinstance(info.spec, Residual):
            same = info.input_shape == info.output_shape
            assert len(info.spec.shortcut) == (not same)


@pytest.mark.parametrize(
    "name", ["alexnet", "resnet18", "resnet50", "mobilenet_v1", "vgg16"]
)
def test_they_tell_a_thousand_classes_apart(name):
    network = registry.load_network(name)
    assert network.output_shape == (1000,)
    assert network.layers[-1].activation == "identity"
