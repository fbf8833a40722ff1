"""Any graph on an array: every step equal to the judge's, every count its closed form's."""

import graphs
import integers
import pytest

from accel.machines.machine import Systolic
from accel.verify.run import Setup
from accel.verify.verify import verify

pytestmark = pytest.mark.usefixtures("small_programs")

MACHINES = (
    Systolic(rows=4, cols=3, vector_width=2),
    Systolic(rows=3, cols=4, dataflow="os", depthwise="diagonal"),
)


@pytest.mark.parametrize("seed", range(6))
def test_any_graph(seed):
    """Seeds of their own: those of the other packages' tests come before."""
    network = integers.filled(graphs.network(1000 + seed), seed=seed)
    images = integers.images(network.network, 2)
    found = verify(network, images, Setup(machine=MACHINES[seed % 2]))
    assert found.holds, found.mismatch and found.mismatch.sentence()
    assert len(found.layers) == len(network.program.products)
    assert len(found.layers) + len(found.others) == len(network.program.steps)
