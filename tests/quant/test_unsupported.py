"""Integer networks of layers that only cost models know are refused by name."""

import dataclasses

import forge
import numpy as np
import pytest
from integers import filled, spec

from configs import stored
from configs.errors import InputError
from configs.network import Conv, Flatten, LstmCell, Network, Pool, Residual
from quant import files
from quant.network import Format, IntNetwork, Weighted

NETWORK = filled(spec("cnn"))
RELU = Format(signed=False, exponent=-4)
UNSUPPORTED = {
    "residual1": (Residual(body=(Conv(features=2, padding="zero"),)), "a Residual block"),
    "conv1": (Conv(features=2, groups=2), r"a Conv in `groups` \(=2\)"),
    "pool1": (Pool(padding="zero"), r"a Pool with `padding` \(=zero\)"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_one_made_by_hand_is_refused(name):
    """With arrays of just the shape a reader of the spec may expect."""
    layer, what = UNSUPPORTED[name]
    network = Network(input_shape=(6, 6, 2), layers=(layer,))
    [info] = network.walk()
    weighted = {}
    if info.weights:
        weighted[name] = Weighted(
            weights=np.ones((3, 3, 1 if name == "conv1" else 2, 2), np.int8),
            bias=np.zeros(2, np.int32),
            multiplier=np.full(2, 1000, np.int32),
            sum=RELU,
            output=RELU,
        )
    rule = rf"`network.layers\[0\]` \({name}\) cannot be quantised yet: it is {what}; rep"
    with pytest.raises(InputError, match=rule):
        IntNetwork(network=network, weighted=weighted)


def test_a_cell_made_by_hand_is_refused():
    network = Network(input_shape=(4,), layers=(LstmCell(features=3),))
    rule = r"\(lstmcell1\) cannot be quantised yet: it is an LstmCell"
    with pytest.raises(InputError, match=rule):
        IntNetwork(network=network, weighted={})


def test_a_symmetric_layer_that_was_not_lowered_is_refused(tmp_path):
    """It would be read as an ordinary one whose weights are no longer shared."""
    spec = Conv(features=4, symmetry="lift")
    network = Network(input_shape=(6, 6, 2), layers=(spec,))
    rule = r"\(conv1\) cannot be quantised yet: it is a Conv with `symmetry` \(=lift\)"
    with pytest.raises(InputError, match=rule):
        IntNetwork(network=network, weighted={})
    folder = tmp_path / "quant"
    files.save(NETWORK, folder, source={}, files={})
    manifest = forge.read(folder)
    forged = dataclasses.replace(
        NETWORK.network, layers=(spec, *NETWORK.network.layers[1:])
    )
    forge.sign(folder, {**manifest, "network": stored.to_dict(forged)})
    forge.refused(folder, rule)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_one_in_a_manifest_is_refused(name, tmp_path):
    """A forged one, its hashes right: refused while it is read, before any array is."""
    folder = tmp_path / "quant"
    files.save(NETWORK, folder, source={}, files={})
    manifest = forge.read(folder)
    layer, what = UNSUPPORTED[name]
    before = NETWORK.network
    forged = dataclasses.replace(before, layers=(layer, *before.layers))
    forge.sign(folder, {**manifest, "network": stored.to_dict(forged)})
    says = rf"\({name}\) cannot be quantised yet: it is {what}"
    forge.refused(folder, says)


def test_a_network_of_supported_layers_is_not():
    assert IntNetwork(network=NETWORK.network, weighted=NETWORK.weighted)
    assert any(isinstance(layer, Flatten) for layer in NETWORK.network.layers)
