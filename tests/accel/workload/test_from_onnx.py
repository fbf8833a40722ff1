"""Products counted from shapes are those that a runtime computes; all else is refused."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from accel.workload import from_onnx, onnx_file
from accel.workload.layer import LayerWorkload
from configs.errors import InputError

FLOAT = TensorProto.FLOAT


def _others(counts: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(counts.items())


def value(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def weights(name, shape, dtype=np.float32):
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def claimed(name, shape):
    """A constant that says its shape and has no data."""
    return onnx.TensorProto(name=name, data_type=FLOAT, dims=shape)


def model(nodes, inputs, constants=(), outputs=None, opset=21, **more):
    last = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes, "g", inputs, outputs or [value(last, None)], list(constants), **more
    )
    ids = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=ids, ir_version=10)


def conv(x, w, *, batch=2, **attributes):
    """A model of one convolution."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c", **attributes)
    return model([node], [value("x", [batch, *x])], [weights("w", w)])


@pytest.fixture
def read(tmp_path):
    def load(given, images=1):
        path = tmp_path / "net.onnx"
        path.write_bytes(given if isinstance(given, bytes) else given.SerializeToString())
        return from_onnx.load(path, images)

    return load


def refused(read, given, *wanted, images=1):
    with pytest.raises(InputError) as error:
        read(given, images)
    message = str(error.value)
    assert "net.onnx`" in message
    assert message.isprintable()
    for text in wanted:
        assert text in message, message


def computed(made: onnx.ModelProto) -> np.ndarray:
    """What ONNX Runtime puts out when all numbers are 1: with no padding, sums are K."""
    session = onnxruntime.InferenceSession(made.SerializeToString())
    kinds = {
        "tensor(float)": np.float32,
        "tensor(uint8)": np.uint8,
        "tensor(int8)": np.int8,
    }
    ones = {i.name: np.ones(i.shape, kinds[i.type]) for i in session.get_inputs()}
    return session.run(None, ones)[0]


@st.composite
def convolutions(draw):
    axes = draw(st.sampled_from([1, 2]))
    pick = lambda low, high: [draw(st.integers(low, high)) for _ in range(axes)]
    groups, channels = draw(st.sampled_from([1, 2, 3])), draw(st.integers(1, 3))
    kernel, strides = pick(1, 4), pick(1, 3)
    pads = pick(0, 2) + pick(0, 2)
    how = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes = {"strides": strides, "group": groups, "auto_pad": how}
    if how == "NOTSET":
        attributes["pads"] = pads
    x = [groups * channels, *pick(4, 9)]
    w = [groups * draw(st.integers(1, 3)), channels, *kernel]
    return x, w, attributes, draw(st.booleans())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(convolutions())
def test_convolutions_have_the_positions_of_a_runtime(tmp_path_factory, example):
    """One and two axes, groups, strides, every way to pad: P, Q and the products."""
    x, w, attributes, known = example
    made = conv(x, w, **attributes)
    out = computed(made)
    if known:  # the file says the shape too
        made.graph.value_info.append(value("y", list(out.shape)))
    path = tmp_path_factory.mktemp("conv") / "net.onnx"
    path.write_bytes(made.SerializeToString())
    (work,) = from_onnx.load(path).works
    P, Q = out.shape[2:] if len(x) == 3 else (1, out.shape[2])
    assert (work.images, work.out_rows, work.out_cols) == (2, P, Q)
    assert math.prod(w[1:]) == work.K
    assert (work.N * work.repeats, work.repeats) == (w[0], attributes["group"])
    assert work.macs == out.size * math.prod(w[1:])
    assert work.stride == (attributes["strides"][0] if len(x) == 3 else 1)
    assert work.kernel_rows == (w[2] if len(x) == 3 else 1)
    # Columns from the first to the last that any window touches.
    touched = {q * attributes["strides"][-1] + s for q in range(Q) for s in range(w[-1])}
    assert work.row_bytes == (max(touched) + 1) * w[1]


def test_a_grouped_convolution_by_hand(read):
    """AlexNet's second layer: 27 x 27 x 96 in two groups, 256 kernels of 5 x 5 x 48."""
    made = conv([96, 27, 27], [256, 48, 5, 5], group=2, pads=[2] * 4, batch="N")
    found = read(made, images=4)
    assert found.not_counted == _others({})
    assert list(found.works) == [
        LayerWorkload(
            name="c", images=4, out_rows=27, out_cols=27, kernel_rows=5, stride=1,
            row_bytes=31 * 48, col_bytes=48, K=1200, N=128, repeats=2,
        )
    ]  # fmt: skip
    assert found.works[0].macs == 4 * 223_948_800


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("right", [0, 1])
def test_transposed_gemms(read, left, right):
    a, b = ([7, 5] if left else [5, 7]), ([3, 7] if right else [7, 3])
    node = helper.make_node("Gemm", ["a", "b"], ["y"], name="g", transA=left, transB=right)
    made = model([node], [value("a", a)], [weights("b", b)])
    assert computed(made).shape == (5, 3)
    assert list(read(made).works) == [
        LayerWorkload(name="g", images=5, row_bytes=7, K=7, N=3)
    ]


MATMULS = [
    # left, right, M, repeats
    ((5, 7), (7, 3), 5, 1),
    ((7,), (7, 3), 1, 1),
    ((5, 7), (7,), 5, 1),
    ((2, 4, 5, 7), (7, 3), 40, 1),
    ((2, 4, 5, 7), (2, 4, 7, 3), 5, 8),
    ((2, 4, 5, 7), (4, 7, 3), 10, 4),
    ((2, 1, 5, 7), (1, 4, 7, 3), 10, 4),
    ((5, 7), (4, 7, 3), 5, 4),
]


@pytest.mark.parametrize(("a", "b", "M", "repeats"), MATMULS)
def test_matrix_products_are_folded_where_they_share_the_right_factor(
    read, a, b, M, repeats
):
    node = helper.make_node("MatMul", ["a", "b"], ["y"], name="m")
    made = model([node], [value("a", a), value("b", b)])
    (work,) = read(made).works
    out = computed(made)
    assert work.macs == out.sum() == out.size * 7
    assert (work.M, work.repeats) == (M, repeats)


def test_integer_operators_and_weights_behind_others(read):
    """Every quantised operator; weights through DequantizeLinear and Transpose."""
    node = helper.make_node
    nodes = [
        node("ConvInteger", ["x", "w"], ["ci"], name="ci"),
        node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["qc"], name="qc"),
        node("MatMulInteger", ["a", "b"], ["mi"], name="mi"),
        node("QLinearMatMul", ["a", "s", "z", "b", "s", "z", "s", "z"], ["qm"], name="qm"),
        node("DequantizeLinear", ["b", "s"], ["real"]),
        node("Transpose", ["real"], ["turned"], perm=[1, 0]),
        node("DequantizeLinear", ["a", "s"], ["ra"]),
        node("Gemm", ["ra", "turned"], ["g"], name="gemm", transB=1),
    ]
    u8 = TensorProto.UINT8
    constants = [weights("w", (6, 3, 2, 2), np.uint8), weights("b", (7, 4), np.uint8),
                 weights("s", ()), weights("z", (), np.uint8)]  # fmt: skip
    made = model(nodes, [value("x", [1, 3, 5, 5], u8), value("a", [2, 7], u8)], constants)
    found = read(made)
    assert [(w.name, w.M, w.K, w.N) for w in found.works] == [
        ("ci", 16, 12, 6), ("qc", 16, 12, 6), ("mi", 2, 7, 4), ("qm", 2, 7, 4),
        ("gemm", 2, 7, 4),
    ]  # fmt: skip
    assert found.not_counted == _others({"DequantizeLinear": 2, "Transpose": 1})


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("directions", [1, 2])
def test_an_lstm_is_one_joined_product_a_step(read, layout, directions):
    steps, batch, D, H = 9, "batch", 5, 6
    attributes = {"layout": 1} if layout else {}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    node = helper.make_node(
        "LSTM", ["x", "w", "r"], ["y"], name="l", hidden_size=H, **attributes
    )
    x = [batch, steps, D] if layout else [steps, batch, D]
    constants = [weights("w", (directions, 4 * H, D)), weights("r", (directions, 4 * H, H))]
    (work,) = read(model([node], [value("x", x)], constants), images=3).works
    repeats = steps * directions
    sizes = {"row_bytes": 11, "K": 11, "N": 24}
    sets = {"repeats": repeats, "weight_sets": directions}
    assert work == LayerWorkload(name="l", images=3, **sizes, **sets)
    # 8 H (D + H) / 2 multiplications a step, direction and image.
    assert work.macs == 3 * 9 * directions * 4 * H * (D + H)


def test_an_open_batch_is_filled_in_and_a_fixed_one_stays(read):
    shape = numpy_helper.from_array(np.array([0, -1]), "shape")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="c"),
        helper.make_node("Reshape", ["c", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "d"], ["y"], name="d"),
    ]
    constants = [weights("w", (4, 1, 3, 3)), shape, weights("d", (144, 10))]
    for batch in ("N", None, "anything"):
        made = model(nodes, [value("x", [batch, 1, 8, 8])], constants)
        found = read(made, images=5)
        assert [w.images for w in found.works] == [5, 5]
        assert found.not_counted == _others({"Reshape": 1})
    fixed = model(nodes, [value("x", [8, 1, 8, 8])], constants)
    for images in (1, 8):
        assert [w.images for w in read(fixed, images).works] == [8, 8]
    refused(read, fixed, "no batch open for `images` (=5)", "`x` 8", images=5)


def test_a_shape_computed_in_the_graph_is_followed(read):
    """Reshape to (batch, -1) as exporters write it: Shape, Gather, Unsqueeze, Concat."""
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["b"], axis=0),
        node("Unsqueeze", ["b", "axis"], ["b1"]),
        node("Concat", ["b1", "minus"], ["to"], axis=0),
        node("Reshape", ["x", "to"], ["f"]),
        node("Gemm", ["f", "w"], ["y"]),
    ]
    number = lambda name, v: numpy_helper.from_array(np.array(v), name)
    constants = [number("zero", 0), number("axis", [0]), number("minus", [-1]),
                 weights("w", (12, 5))]  # fmt: skip
    made = model(nodes, [value("x", ["N", 3, 4])], constants)
    (work,) = read(made, images=6).works
    assert work == LayerWorkload(name="y", images=6, row_bytes=12, K=12, N=5)


def gemm(x=(2, 3), w=(3, 4)) -> onnx.ModelProto:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="g")
    constant = (weights if math.prod(w) < 1000 else claimed)("w", w)
    return model([node], [value("x", x)], [constant])


def test_unknown_shapes_are_refused_with_the_node_and_the_way_out(read):
    refused(read, gemm(("N", "K")), "`g` (Gemm)", "`x` of the shape (1, ?)",
            "--size K=NUMBER")  # fmt: skip
    refused(read, gemm(None), "`x` of no shape")
    odd = helper.make_node("Odd", ["x"], ["o"], domain="com.microsoft")
    last = helper.make_node("Gemm", ["o", "w"], ["y"], name="g")
    made = model([odd, last], [value("x", [2, 3])], [weights("w", (3, 4))])
    refused(read, made, "`g` (Gemm)", "`o` of no shape")
    made.graph.value_info.append(value("o", [2, 3]))
    assert read(made).not_counted == _others({"com.microsoft:Odd": 1})
    lstm = helper.make_node("LSTM", ["x", "w", "r"], ["y"], name="l", hidden_size=2)
    constants = [weights("w", (1, 8, 3)), weights("r", (1, 8, 2))]
    made = model([lstm], [value("x", ["steps", "batch", 3])], constants)
    refused(read, made, "`l` (LSTM)", "(?, 4, 3)", images=4)


CONTRADICTIONS = {
    "no dilations": (conv([3, 9, 9], [4, 3, 3, 3], dilations=[0, 1]), "`dilations`"),
    "channels": (conv([3, 9, 9], [4, 2, 3, 3]), "`group` (=1)"),
    "features": (conv([4, 9, 9], [3, 2, 3, 3], group=2), "`group` (=2)"),
    "four axes": (conv([3, 9, 9, 9, 9], [4, 3, 3, 3, 3, 3]), "one to three axes"),
    "a large kernel": (conv([3, 4, 4], [4, 3, 5, 5]), "puts the kernel (5, 5) on (4, 4)"),
    "no step": (conv([3, 9, 9], [4, 3, 3, 3], strides=[0, 1]), "`strides`"),
    "few strides": (conv([3, 9, 9], [4, 3, 3, 3], strides=[1]), "2 numbers of 0 or more"),
    "negative pads": (conv([3, 9, 9], [4, 3, 3, 3], pads=[-1, 0, 0, 0]), "in `pads`"),
    "two ways to pad": (conv([3, 9, 9], [4, 3, 3, 3], pads=[1] * 4, auto_pad="VALID"),
                        "both `pads` (=[1, 1, 1, 1]) and `auto_pad` (=VALID)"),
    "unequal K": (gemm((2, 4), (3, 4)), "the left one has K=4, the right one 3"),
    "no columns": (gemm((2, 0), (0, 4)), "the shape (2, 0)"),
    "a huge size": (gemm((2**31, 3)), "the largest size (=2147483648)"),
    "huge products": (gemm((2**30, 2**15), (2**15, 2**15)), "number of multiplications"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_shapes_that_no_product_has_are_refused(read, name):
    """Claimed sizes are never allocated, so the large ones cost nothing."""
    made, wanted = CONTRADICTIONS[name]
    refused(read, made, wanted)


def test_a_stored_output_shape_that_is_not_the_computed_one_is_refused(read):
    made = conv([3, 9, 9], [4, 3, 3, 3])
    made.graph.value_info.append(value("y", [2, 4, 8, 8]))
    del made.graph.output[:]
    made.graph.output.append(value("y", [2, 4, 8, 8]))
    refused(read, made, "8")


def test_branches_with_products_are_refused_and_others_listed(read):
    body = gemm().graph
    plain = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [],
                              [value("z", [2, 3])])  # fmt: skip
    again = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    deep = helper.make_graph([again], "b", [], [value("y", [2, 4])])
    for branch, fine in ((body, False), (deep, False), (plain, True)):
        nodes = [
            helper.make_node("If", ["c"], ["i"], name="i", then_branch=branch,
                             else_branch=plain),
            helper.make_node("Gemm", ["x", "w"], ["y"], name="g"),
        ]  # fmt: skip
        inputs = [value("c", [], TensorProto.BOOL), value("x", [2, 3])]
        made = model(nodes, inputs, [weights("w", (3, 4))])
        if fine:
            assert read(made).not_counted == _others({"If": 1})
        else:
            refused(read, made, "`i` (If) runs a Gemm that cannot be counted")


def external() -> onnx.ModelProto:
    made = gemm()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return made


def in_attribute() -> onnx.ModelProto:
    made = gemm()
    node = helper.make_node("Constant", [], ["k"], value=external().graph.initializer[0])
    made.graph.node.insert(0, node)
    return made


def cycle() -> onnx.ModelProto:
    made = gemm()
    made.graph.node[0].input[0] = "z"
    made.graph.node.append(helper.make_node("Relu", ["y"], ["z"], name="r"))
    return made


def twice() -> onnx.ModelProto:
    made = gemm()
    made.graph.node.append(made.graph.node[0])
    return made


def own_operator() -> onnx.ModelProto:
    made = gemm()
    own = made.functions.add(name="F", domain="d", input=["a"], output=["b"])
    own.node.append(helper.make_node("F", ["a"], ["b"], domain="d"))
    made.graph.node.insert(0, helper.make_node("F", ["x"], ["f"], domain="d"))
    return made


def no_products() -> onnx.ModelProto:
    return model([helper.make_node("Relu", ["x"], ["y"])], [value("x", [2, 3])])


def no_output() -> onnx.ModelProto:
    made = conv([3, 4, 4], [4, 3, 5, 5])
    del made.graph.node[0].output[:]
    return made


def odd_name() -> onnx.ModelProto:
    made = gemm((2, 4))
    made.graph.node[0].name = "\x1b[31m\n" + "g" * 500
    return made


REFUSED = {
    cycle: "the node `g` (Gemm) reads `z`, which no node before it puts out",
    twice: "puts out `y`, which is there already",
    own_operator: "the function `F` calls itself",
    no_products: "no product that is counted",
    no_output: "shapes that contradict each other",
    odd_name: "`?[31m?ggg",
    lambda: b"": "is empty",
    lambda: b"\x00\xff" * 50: "holds no ONNX model",
    lambda: gemm().SerializeToString()[:-30]: "net.onnx`",
    lambda: b"Layer,M,N,K\nq,1,2,3\n": "holds no ONNX model",
}


@pytest.mark.parametrize("make", [external, in_attribute])
def test_constants_in_other_files_are_shapes(read, make):
    """Which are never opened, whatever they are called."""
    (work,) = read(make()).works
    assert (work.M, work.K, work.N) == (2, 3, 4)


@pytest.mark.parametrize("make", REFUSED)
def test_odd_files_are_refused(read, make):
    refused(read, make(), REFUSED[make])


def test_a_file_beyond_the_limit_is_refused_before_it_is_parsed(read, monkeypatch):
    monkeypatch.setattr(onnx_file, "LIMIT_BYTES", 50)
    refused(read, gemm(), "must have at most 50 bytes")


def test_damage_gives_a_refusal_or_a_model_and_never_another_error(read):
    """Every second byte of a file, changed in three ways, and the file cut there."""
    content = conv([3, 9, 9], [4, 3, 3, 3], strides=[2, 1]).SerializeToString()
    refusals = 0
    for at in range(0, len(content), 2):
        for changed in (
            content[:at],
            *(content[:at] + bytes([content[at] ^ x]) + content[at + 1 :]
              for x in (1, 128, 255)),
        ):  # fmt: skip
            try:
                read(changed)
            except InputError:
                refusals += 1
    assert refusals > len(content) / 2
