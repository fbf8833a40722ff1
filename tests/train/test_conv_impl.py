"""Both convolutions mean the same, under every transformation and in both precisions."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train import conv_impl

# Operands with few significant bits: every order of summation gives the same float32.
LARGEST = 7


def whole_numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-LARGEST, LARGEST + 1, shape).astype(np.float32)


def brute_force(x: np.ndarray, w: np.ndarray, strides: tuple[int, int]) -> np.ndarray:
    """Convolution (B, H, W, C) * (R, S, C, F), one output pixel after the other."""
    (b, height, width, _), (r, s, _, f) = x.shape, w.shape
    down, right = strides
    out = np.zeros((b, (height - r) // down + 1, (width - s) // right + 1, f), x.dtype)
    for p in range(out.shape[1]):
        for q in range(out.shape[2]):
            patch = x[:, p * down : p * down + r, q * right : q * right + s]
            out[:, p, q] = np.tensordot(patch, w, 3)
    return out


def lax_conv(x, w, strides) -> jax.Array:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, w, strides, "VALID", dimension_numbers=dimensions
    )


def im2col(x, w, strides) -> jax.Array:
    return conv_impl.conv_im2col(x, w, strides, "VALID")


def with_gradients(conv, strides):
    """Output, and gradients for input and kernel that a cotangent g gives."""

    def compute(x, w, g):
        y, transposed = jax.vjp(lambda x, w: conv(x, w, strides), x, w)
        return y, *transposed(g)

    return jax.jit(compute)


@st.composite
def geometries(draw):
    """Shapes of input and kernel that fit, and strides."""
    b, c, f = (draw(st.integers(1, 3)) for _ in range(3))
    h, w = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    kernel = draw(st.integers(1, h)), draw(st.integers(1, w))
    strides = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return (b, h, w, c), (*kernel, c, f), strides


@settings(max_examples=12, deadline=None, derandomize=True)
@given(geometries())
def test_im2col_equals_lax_and_int64_exactly_on_whole_numbers(geometry) -> None:
    """Values, and gradients of input and kernel, bit for bit."""
    x_shape, w_shape, strides = geometry
    rng = np.random.default_rng(0)
    x, w = whole_numbers(rng, *x_shape), whole_numbers(rng, *w_shape)
    expected = brute_force(x.astype(np.int64), w.astype(np.int64), strides)
    g = whole_numbers(rng, *expected.shape)
    ours, lax = (with_gradients(conv, strides)(x, w, g) for conv in (im2col, lax_conv))
    np.testing.assert_array_equal(ours[0], expected)
    for one, other in zip(ours, lax, strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_im2col_equals_lax_on_real_numbers(strides) -> None:
    """Up to the order of summation: 2e-5 for at most 60 products of normal numbers."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 7, 8, 3)).astype(np.float32)
    w = rng.normal(size=(3, 2, 3, 5)).astype(np.float32)
    g = rng.normal(size=brute_force(x, w, strides).shape).astype(np.float32)
    ours, lax = (with_gradients(conv, strides)(x, w, g) for conv in (im2col, lax_conv))
    for one, other in zip(ours, lax, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5)


X = whole_numbers(np.random.default_rng(2), 2, 3, 5, 4, 2)
W = whole_numbers(np.random.default_rng(3), 2, 3, 2, 3)
STRIDES = (2, 1)
EXPECTED = np.stack([brute_force(x, W, STRIDES) for x in X])


def scanned(x, w):
    return jax.lax.scan(lambda carry, part: (carry, im2col(part, w, STRIDES)), 0, x)[1]


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, w: jnp.stack([im2col(part, w, STRIDES) for part in x]),
        lambda x, w: jnp.stack(
            [jax.jit(im2col, static_argnums=2)(x_, w, STRIDES) for x_ in x]
        ),
        lambda x, w: jax.vmap(im2col, (0, None, None))(x, w, STRIDES),
        lambda x, w: jax.jit(jax.vmap(lambda x_: im2col(x_, w, STRIDES)))(x),
        scanned,
        lambda x, w: jax.jit(scanned)(x, w),
    ],
    ids=["eager", "jit", "vmap", "jit of vmap", "scan", "jit of scan"],
)
def test_im2col_gives_the_same_under_every_transformation(compute) -> None:
    np.testing.assert_array_equal(compute(X, W), EXPECTED)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_are_the_same_eagerly_compiled_and_through_scan(compiled: bool) -> None:
    """The gradient of half the squared output is the transposed map of the output."""
    wrap = jax.jit if compiled else lambda function: function
    half_square = lambda compute: lambda w: jnp.sum(compute(w) ** 2) / 2
    transposed = jax.vjp(lambda w: jax.vmap(lambda x: lax_conv(x, w, STRIDES))(X), W)[1]
    (expected,) = transposed(jnp.asarray(EXPECTED))
    plain = lambda w: jnp.stack([im2col(x, w, STRIDES) for x in X])
    for compute in (plain, lambda w: scanned(X, w)):
        grad = wrap(jax.grad(half_square(compute)))(W)
        np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("size", range(1, 5))
@pytest.mark.parametrize("step", range(1, 4))
def test_shifted_meets_what_each_window_holds(size: int, step: int) -> None:
    """View n holds the nth element of every window that fits, and no other."""
    line = np.arange(10)
    windows = [line[i : i + size] for i in range(0, 10, step) if i + size <= 10]
    views = list(conv_impl.shifted(jnp.asarray(line)[None], 1, size, step))
    np.testing.assert_array_equal(np.concatenate(views).T, windows)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (1, 3)])
def test_groups_and_dilation_are_those_of_lax(groups, dilation) -> None:
    """Depthwise with a multiplier among them, within the rounding of float32."""
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(3, 9, 8, 6)), jnp.float32)
    w = jnp.asarray(draw.normal(size=(3, 2, 6 // groups, 12)), jnp.float32)
    how = {"feature_group_count": groups, "rhs_dilation": dilation}
    wanted = jax.lax.conv_general_dilated(
        x, w, (2, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), **how
    )
    found = jax.jit(lambda x, w: conv_impl.conv_im2col(x, w, (2, 1), "VALID", **how))(x, w)
    np.testing.assert_allclose(found + 1, wanted + 1, atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "keywords", "says"),
    [
        ("SAME", {}, "`padding` (='SAME') must be 'VALID'"),
        (((1, 1), (0, 0)), {}, "`padding` (=((1, 1), (0, 0))) must be 'VALID'"),
        ("VALID", {"lhs_dilation": (1, 2)}, "`lhs_dilation` (=(1, 2)) 1"),
    ],
)
def test_what_im2col_cannot_do_is_refused(padding, keywords, says: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){re.escape(says)}.*use 'lax'"):
        conv_impl.conv_im2col(X[0], W, STRIDES, padding, **keywords)


def rounded(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 numbers, in float64."""
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16)).astype(np.float64)


KEYWORDS = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
KINDS = {
    "im2col": lambda kind: conv_impl.conv_in("im2col", kind),
    "lax": lambda kind: conv_impl.conv_in("lax", kind),
    # Every input pixel times one matrix, as a 1 x 1 convolution.
    "dot": lambda kind: (
        lambda x, w, *_, **__: conv_impl.dot_in(kind)(x, w[0, 0], (((3,), (0,)), ((), ())))
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_rounds_the_operands_and_gives_float32(kind: str) -> None:
    """The result is that of rounded operands, summed finer than bfloat16; `lax` rounds
    the sum once more. It differs from float32, by at most 2^-7 of the absolute sum."""
    rng = np.random.default_rng(4)
    size = (1, 1) if kind == "dot" else (3, 3)
    x = rng.normal(size=(2, 6, 6, 8)).astype(np.float32)
    w = rng.normal(size=(*size, 8, 4)).astype(np.float32)
    y16, y32 = (
        KINDS[kind](precision)(jnp.asarray(x), jnp.asarray(w), (1, 1), "VALID", **KEYWORDS)
        for precision in ("bfloat16", "float32")
    )
    assert y16.dtype == y32.dtype == jnp.float32
    exact = brute_force(x.astype(np.float64), w.astype(np.float64), (1, 1))
    np.testing.assert_allclose(y32, exact, rtol=0, atol=2e-5)
    of_rounded = brute_force(rounded(x), rounded(w), (1, 1))
    allowed = 2.0**-8 if kind == "lax" else 0.0
    np.testing.assert_allclose(y16, of_rounded, rtol=allowed, atol=2e-5)
    off = np.abs(np.asarray(y16, np.float64) - exact)
    assert np.median(off) > 1e-3
    assert np.all(off <= 2.0**-7 * brute_force(np.abs(x), np.abs(w), (1, 1)))


@pytest.mark.parametrize("convolution", ["im2col", "lax"])
def test_gradients_through_bfloat16_are_float32_and_close(convolution: str) -> None:
    """Within 2^-6 of the absolute sum, and not the float32 ones."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 5, 5, 4)).astype(np.float32)
    w = rng.normal(size=(3, 3, 4, 3)).astype(np.float32)
    g = rng.normal(size=(2, 3, 3, 3)).astype(np.float32)
    conv = conv_impl.conv_in(convolution, "bfloat16")
    ours = with_gradients(lambda x, w, s: conv(x, w, s, "VALID", **KEYWORDS), (1, 1))
    exact = with_gradients(lax_conv, (1, 1))
    bounds = exact(np.abs(x), np.abs(w), np.abs(g))
    for got, wanted, bound in zip(ours(x, w, g), exact(x, w, g), bounds, strict=True):
        assert got.dtype == jnp.float32
        off = np.abs(got - wanted)
        assert np.median(off) > 1e-3
        assert np.all(off <= 2.0**-6 * np.asarray(bound))


def primitives(conv) -> str:
    return str(jax.make_jaxpr(lambda: conv(X[0], W, STRIDES, "VALID", **KEYWORDS))())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_auto_is_im2col_on_cpu_and_lax_elsewhere(monkeypatch, precision) -> None:
    assert conv_impl.on_cpu()
    auto = primitives(conv_impl.conv_in("auto", precision))
    assert "conv_general_dilated" not in auto
    assert auto == primitives(conv_impl.conv_in("im2col", precision))
    monkeypatch.setattr(conv_impl, "on_cpu", lambda: False)
    assert "conv_general_dilated" in primitives(conv_impl.conv_in("auto", precision))
    assert "conv_general_dilated" not in primitives(conv_impl.conv_in("im2col", precision))


def layout_jaxpr() -> str:
    # A function of its own each time: JAX remembers what it has traced.
    return str(jax.make_jaxpr(lambda x: conv_impl.batch_fastest(x))(X[0]))


def test_batch_fastest_asks_for_a_layout_on_cpu_only(monkeypatch) -> None:
    """Axes from slowest to fastest are C, H, W, B; the values stay."""
    assert "major_to_minor=(3, 1, 2, 0)" in layout_jaxpr()
    np.testing.assert_array_equal(conv_impl.batch_fastest(X[0]), X[0])
    monkeypatch.setattr(conv_impl, "on_cpu", lambda: False)
    assert "layout" not in layout_jaxpr()


@pytest.mark.parametrize("what", ["value", "convolution", "gradient"])
def test_what_leaves_jit_is_read_aright(what: str) -> None:
    """JAX hands a layout asked for last out of `jit`, and misreads it in what follows."""
    if what == "value":
        result, expected = jax.jit(conv_impl.batch_fastest)(X[0]), X[0]
    elif what == "convolution":
        result, expected = jax.jit(lambda x: im2col(x, W, STRIDES))(X[0]), EXPECTED[0]
    else:
        gradient = lambda conv: jax.grad(lambda x: jnp.sum(conv(x, W, STRIDES)))
        result, expected = jax.jit(gradient(im2col))(X[0]), gradient(lax_conv)(X[0])
    np.testing.assert_array_equal(jax.jit(lambda x: x + 1)(result), expected + 1)
