"""ONNX files as the tools write them, each with the number of products that it does.

Where numbers can be run, they are all 1: then every product adds 1 to some output, and the
sum of all outputs is the number of products, whatever the shapes. The rest is by hand.
"""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from accel.workload import from_onnx
from configs.errors import InputError

FLOAT = TensorProto.FLOAT
node = helper.make_node


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def ones(name, *shape, dtype=np.float32):
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def whole(name, *numbers):
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def model(nodes, inputs, constants, opset=17, domains=("com.microsoft",), output=None):
    graph = helper.make_graph(
        nodes, "g", inputs, [output or value(nodes[-1].output[0], None)], constants
    )
    ids = [helper.make_opsetid(name, 1) for name in domains]
    ids.append(helper.make_opsetid("", opset))
    return helper.make_model(graph, opset_imports=ids, ir_version=8)


@pytest.fixture
def read(tmp_path) -> Callable:
    def load(made: onnx.ModelProto, images: int = 1, **sizes: int):
        path = tmp_path / "net.onnx"
        path.write_bytes(made.SerializeToString())
        return from_onnx.load(path, images, sizes)

    return load


def executed(made: onnx.ModelProto) -> int:
    """Products of a model whose constants are all 1, by running it on ones."""
    session = onnxruntime.InferenceSession(made.SerializeToString())
    given = {i.name: np.ones(i.shape, np.float32) for i in session.get_inputs()}
    return round(float(session.run(None, given)[0].astype(np.float64).sum()))


CONVOLUTIONS = {
    "dilated": (("Conv", (2, 4, 12, 12), (6, 4, 3, 3)), {"dilations": [2, 3]}),
    "dilated groups": (
        ("Conv", (1, 4, 11, 9), (8, 2, 3, 2)), {"dilations": [3, 1], "group": 2}
    ),
    "dilated, one axis": (("Conv", (2, 3, 30), (5, 3, 4)), {"dilations": [5]}),
    "three axes": (("Conv", (2, 3, 6, 8, 7), (4, 3, 2, 3, 3)), {"strides": [1, 2, 1]}),
    "video, dilated": (
        ("Conv", (1, 2, 9, 8, 8), (4, 1, 3, 3, 3)),
        {"dilations": [2, 1, 2], "group": 2},
    ),
    "transposed": (("ConvTranspose", (2, 6, 5, 4), (6, 3, 4, 3)), {"strides": [2, 2]}),
    "transposed groups": (
        ("ConvTranspose", (1, 6, 5, 5), (6, 2, 2, 2)), {"group": 3, "strides": [2, 1]}
    ),
    "transposed, one axis": (("ConvTranspose", (2, 4, 9), (4, 5, 3)), {}),
    "transposed, output padding": (
        ("ConvTranspose", (1, 2, 4, 4), (2, 3, 3, 3)),
        {"strides": [2, 2], "output_padding": [1, 1]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_every_sort(name, read):
    """Without padding no product is left out."""
    (operator, x, w), attributes = CONVOLUTIONS[name]
    made = model(
        [node(operator, ["x", "w"], ["y"], **attributes)], [value("x", x)], [ones("w", *w)]
    )
    found = read(made)
    assert found.macs == executed(made)
    assert found.operators == ((operator, 1),)
    assert (found.unit, found.inferences) == (
        ("image", x[0]) if len(x) == 4 else ("pass", 1)
    )


EINSUMS = {
    "bij,bjk->bik": ((3, 4, 5), (3, 5, 6)),
    "bhqd,bhkd->bhqk": ((2, 3, 4, 5), (2, 3, 6, 5)),
    "...ij,jk": ((2, 3, 4), (4, 5)),
    "...ij,...jk->...ik": ((2, 3, 4), (2, 4, 5)),
    "bsd,dhe->bshe": ((2, 3, 4), (4, 5, 6)),
    "ij,jk->ki": ((3, 4), (4, 5)),
    " i j , k j -> i k ": ((3, 4), (5, 4)),
}


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum_of_two_factors(equation, read):
    a, b = EINSUMS[equation]
    made = model(
        [node("Einsum", ["x", "z"], ["y"], equation=equation)],
        [value("x", a), value("z", b)],
        [],
    )
    found = read(made)
    assert found.macs == executed(made)
    assert all(work.weight_bytes == 0 for work in found.works)


def pytorch_exporter():
    """Data in another file, batch by name, a Gemm of turned weights."""
    weight = ones("conv.weight", 8, 3, 3, 3)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="net.onnx.data")
    nodes = [
        node("Conv", ["x", "conv.weight"], ["c"], name="/conv/Conv", pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], name="/fc/Gemm", transB=1),
    ]
    constants = [weight, ones("fc.weight", 10, 8), ones("fc.bias", 10)]
    return model(nodes, [value("x", ["batch", 3, 16, 16])], constants)


def keras_lines():
    """Pictures with channels last, turned before the convolution."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["c"], strides=[2, 2], auto_pad="SAME_UPPER"),
    ]
    return model(nodes, [value("x", ["unk__12", 32, 32, 3])], [ones("w", 16, 3, 3, 3)])


def gru():
    """40 inputs, 64 states, 100 steps of batch 1, and a dense layer."""
    nodes = [
        node("GRU", ["x", "W", "R"], ["Y", "H"], hidden_size=64, linear_before_reset=1),
        node("Squeeze", ["H", "ax"], ["s"]),
        node("Gemm", ["s", "f"], ["y"]),
    ]
    constants = [
        ones("W", 1, 192, 40), ones("R", 1, 192, 64), ones("f", 64, 20), whole("ax", 0)
    ]  # fmt: skip
    return model(nodes, [value("x", [100, 1, 40])], constants)


def bidirectional_rnn():
    nodes = [node("RNN", ["x", "W", "R"], ["Y"], hidden_size=6, direction="bidirectional")]
    constants = [ones("W", 2, 6, 5), ones("R", 2, 6, 6)]
    return model(nodes, [value("x", [7, 3, 5])], constants)


def encoder():
    """Four heads of 8 over `seq` tokens, written with MatMul; weights 32 x 32."""
    nodes = []
    for one in "qkv":
        nodes += [
            node("MatMul", ["x", f"w{one}"], [f"{one}1"], name=one),
            node("Reshape", [f"{one}1", "split"], [f"{one}2"]),
            node("Transpose", [f"{one}2"], [f"{one}3"],
                 perm=[0, 2, 3, 1] if one == "k" else [0, 2, 1, 3]),
        ]  # fmt: skip
    nodes += [
        node("MatMul", ["q3", "k3"], ["s"], name="scores"),
        node("Softmax", ["s"], ["p"]),
        node("MatMul", ["p", "v3"], ["c"], name="context"),
        node("Transpose", ["c"], ["c1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["c1", "join"], ["c2"]),
        node("MatMul", ["c2", "wo"], ["y"], name="out"),
    ]
    constants = [ones(f"w{one}", 32, 32) for one in "qkvo"]
    constants += [whole("split", 0, -1, 4, 8), whole("join", 0, -1, 32)]
    return model(nodes, [value("x", ["batch", "seq", 32])], constants)


def grouped_query():
    """Eight query heads on two key heads of 16, ten queries after six earlier keys."""
    shape = [1, 2, 6, 16]
    nodes = [
        node("GroupQueryAttention", ["q", "k", "v", "pk", "pv", "n", "t"], ["y", "a", "b"],
             domain="com.microsoft", num_heads=8, kv_num_heads=2, name="attn"),
    ]  # fmt: skip
    inputs = [
        value("q", [1, 10, 128]), value("k", [1, 10, 32]), value("v", [1, 10, 32]),
        value("pk", shape), value("pv", shape), value("n", [1], TensorProto.INT32),
        value("t", [1], TensorProto.INT32),
    ]  # fmt: skip
    return model(nodes, inputs, [])


def fused():
    """What ONNX Runtime writes when it saves its optimised graph."""
    nodes = [
        node("FusedConv", ["x", "w", "b"], ["a"], domain="com.microsoft", name="first",
             activation="Relu", strides=[2, 2]),
        node("Conv", ["a", "v"], ["c"], name="second"),
        node("Flatten", ["c"], ["f"]),
        node("FusedGemm", ["f", "g", "h"], ["y"], domain="com.microsoft", name="third",
             activation="Relu"),
    ]  # fmt: skip
    constants = [
        ones("w", 4, 3, 3, 3), ones("b", 4), ones("v", 2, 4, 3, 3),
        ones("g", 2 * 5 * 5, 6), ones("h", 6),
    ]  # fmt: skip
    return model(nodes, [value("x", [1, 3, 16, 16])], constants, domains=())


def four_bits():
    """Weights of four bits in blocks of 32: their sizes are attributes."""
    packed = ones("B", 24, 2, 16, dtype=np.uint8)
    nodes = [
        node("MatMulNBits", ["x", "B", "s"], ["y"], domain="com.microsoft", K=64, N=24,
             bits=4, block_size=32),
    ]  # fmt: skip
    return model(nodes, [value("x", [1, 9, 64])], [packed, ones("s", 48)])


def own_function():
    """A block that the file defines and calls twice."""
    made = model(
        [
            node("Block", ["x", "w"], ["a"], domain="own"),
            node("Block", ["a", "w"], ["y"], domain="own"),
        ],
        [value("x", [5, 8])],
        [ones("w", 8, 8)],
        domains=("own",),
    )
    made.functions.append(
        helper.make_function(
            "own", "Block", ["i", "k"], ["o"],
            [node("MatMul", ["i", "k"], ["m"]), node("Relu", ["m"], ["o"])],
            [helper.make_opsetid("", 17)],
        )
    )  # fmt: skip
    return made


def out_of_order():
    """The last node first, and a batch that is written as -1."""
    made = keras_lines()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    nodes = list(made.graph.node)[::-1]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


# Model, how it is read, products by hand.
PUBLIC = {
    pytorch_exporter: ({"images": 2}, 2 * (16 * 16 * 27 * 8 + 8 * 10)),
    keras_lines: ({}, 16 * 16 * 27 * 16),
    gru: ({}, 100 * 192 * (40 + 64) + 64 * 20),
    bidirectional_rnn: ({}, 2 * 7 * 3 * 6 * (5 + 6)),
    encoder: ({"images": 2, "seq": 12}, 2 * (4 * 12 * 32 * 32 + 2 * 4 * 12 * 12 * 8)),
    grouped_query: ({}, 2 * 8 * 10 * 16 * 16),
    fused: ({}, 7 * 7 * 27 * 4 + 5 * 5 * 36 * 2 + 50 * 6),
    four_bits: ({}, 9 * 64 * 24),
    own_function: ({}, 2 * 5 * 8 * 8),
    out_of_order: ({"images": 3}, 3 * 16 * 16 * 27 * 16),
}


@pytest.mark.parametrize("make", PUBLIC, ids=lambda make: make.__name__)
def test_files_as_tools_write_them(make, read):
    how, macs = PUBLIC[make]
    found = read(make(), **how)
    assert found.macs == macs
    assert found.inferences == how.get("images", 1)


def test_attention_is_more_products_and_holds_no_weights(read):
    """A batch makes as many more; its keys are nobody's weights."""
    one, two = (read(encoder(), n, seq=12) for n in (1, 2))
    named = {work.name: work for work in two.works}
    for name in ("scores", "context"):
        first = next(work for work in one.works if work.name == name)
        assert (first.M, first.repeats) == (12, 4)
        assert (named[name].M, named[name].repeats) == (12, 8)
        assert named[name].weight_bytes == 0
    assert one.weight_bytes == two.weight_bytes == 4 * 32 * 32
    assert any("`batch` is 2" in line for line in two.remarks)
    assert any("`seq` is 12" in line for line in two.remarks)


def test_an_open_size_is_asked_for_by_name(read):
    """All products that miss it in one message."""
    with pytest.raises(InputError, match=r"`seq` open: give --size seq=NUMBER") as error:
        read(encoder())
    assert "6 nodes cannot be counted: (1)" in str(error.value)
    with pytest.raises(InputError, match="`--size tokens=4` names no open size"):
        read(encoder(), tokens=4)


def test_an_unknown_operator_is_named_and_not_the_inputs(read):
    """Whether its domain is imported or not; and refused where it may hold weights."""
    odd = node("Mystery", ["x"], ["a"], domain="vendor", name="first")
    last = node("MatMul", ["a", "w"], ["y"], name="second")
    for domains in ((), ("vendor",)):
        made = model([odd, last], [value("x", [2, 3])], [ones("w", 3, 4)], domains=domains)
        with pytest.raises(InputError, match=r"`first` \(vendor:Mystery\) puts out"):
            read(made)
    plain = node("MatMul", ["x", "w"], ["y"])
    for size, fine in ((1024, True), (1025, False)):
        heavy = node("Mystery", ["y", "k"], ["z"], domain="vendor", name="first")
        made = model(
            [plain, heavy], [value("x", [2, 3])], [ones("w", 3, 4), ones("k", size)]
        )
        if fine:
            assert read(made).not_counted == (("vendor:Mystery", 1),)
        else:
            with pytest.raises(InputError, match="reads the constant `k` of 1025"):
                read(made)


def test_a_misspelt_standard_operator_is_named(read):
    made = model(
        [node("Convolute", ["x"], ["a"], name="odd"), node("MatMul", ["a", "w"], ["y"])],
        [value("x", [2, 3])],
        [ones("w", 3, 4)],
    )
    with pytest.raises(InputError, match=r"`odd` \(Convolute\) puts out"):
        read(made)


def test_weights_on_the_left_are_weights(read):
    """W [6, 3] x X [2, 3, 5]: ten columns meet the same 18 weights."""
    made = model(
        [node("MatMul", ["w", "x"], ["y"])], [value("x", [2, 3, 5])], [ones("w", 6, 3)]
    )
    found = read(made)
    assert found.macs == executed(made)
    assert found.weight_bytes == 18


def test_products_of_constants_are_done_beforehand(read):
    nodes = [node("MatMul", ["v", "w"], ["k"]), node("MatMul", ["x", "k"], ["y"])]
    made = model(nodes, [value("x", [2, 4])], [ones("v", 4, 3), ones("w", 3, 5)])
    found = read(made)
    assert found.macs == 2 * 4 * 5
    assert found.not_counted == (("MatMul", 1),)


def test_a_fixed_batch_of_pictures_is_so_many_images(read):
    made = keras_lines()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    found = read(made)
    assert (found.inferences, found.unit) == (8, "image")
    assert found.remarks == ("The file fixes its batch: 8 images.",)


def test_operators_that_onnx_runtime_quantises_keep_their_shapes(read):
    """Its own domain has QLinearConcat, means and QGemm: 16 channels of 8 x 8 to 5."""
    runtime = {"domain": "com.microsoft"}
    nodes = [
        node("QLinearConcat", ["s", "z", "x", "s", "z", "x", "s", "z"], ["c"], axis=1,
             **runtime),
        node("QLinearAveragePool", ["c", "s", "z", "s", "z"], ["p"], kernel_shape=[2, 2],
             strides=[2, 2], **runtime),
        node("QLinearAdd", ["p", "s", "z", "p", "s", "z", "s", "z"], ["d"], **runtime),
        node("QLinearConv", ["d", "s", "z", "w", "s", "z", "s", "z"], ["e"]),
        node("QLinearGlobalAveragePool", ["e", "s", "z", "s", "z"], ["g"], **runtime),
        node("Flatten", ["g"], ["f"]),
        node("QGemm", ["f", "s", "z", "k", "s", "z"], ["y"], transB=1, **runtime),
    ]  # fmt: skip
    zero = numpy_helper.from_array(np.array(0, np.uint8), "z")
    scale = numpy_helper.from_array(np.array(1, np.float32), "s")
    constants = [
        scale, zero, ones("w", 4, 16, 3, 3, dtype=np.uint8), ones("k", 5, 4, dtype=np.uint8)
    ]  # fmt: skip
    made = model(nodes, [value("x", [1, 8, 8, 8], TensorProto.UINT8)], constants)
    found = read(made)
    # A map of 4 x 4 with a kernel of 3 x 3: 2 x 2 positions.
    assert found.macs == 4 * (9 * 16) * 4 + 4 * 5
    assert dict(found.operators) == {"QLinearConv": 1, "com.microsoft:QGemm": 1}
