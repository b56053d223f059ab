"""Two-pass maps of inference against three-pass maps of training; mixing and its gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf.fused import maps
from cait_tf.fused.maps import _exponentials, _mixed_shares, all_maps, last_map
from tests.cait_tf.fused.xla import CPU_ALONE, compiled_parts

B, N, D = 2, 9, 4
NEAR = {"float64": 1e-12, "float32": 1e-6, "bfloat16": 0.02, "float16": 0.003}


def tensors(heads: int, dtype: str, larger: float = 1.0) -> list[tf.Tensor]:
    shapes = [(B, heads, N, D)] * 2 + [(heads, heads)] * 2
    random = np.random.default_rng(0)  # one generator, so that no two tensors are equal
    q, k, *kernels = (random.normal(size=shape) for shape in shapes)
    return [tf.constant(one, dtype) for one in (larger * q, k, *kernels)]


def both(inputs: list[tf.Tensor]) -> list[np.ndarray]:
    runs = (tf.function(last_map), lambda *inputs: all_maps(*inputs)[-1])
    return [tf.cast(run(*inputs), tf.float64).numpy() for run in runs]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("heads", [2, 4, 6, 8])
def test_two_pass_maps_equal_three_pass_maps(heads, dtype):
    got, wanted = both(tensors(heads, dtype))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=NEAR[dtype] * np.abs(wanted).max())


@pytest.mark.parametrize("larger", [40.0, 1e4])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_maps_stay_finite_for_scores_whose_exponentials_overflow(dtype, larger):
    """The softmax of large scores must subtract the maximum."""
    inputs = tensors(4, dtype, larger)
    mixed = tf.einsum("bhnm,hk->bknm", all_maps(*inputs)[0], inputs[2])
    assert float(tf.reduce_max(mixed)) > 100
    got, wanted = both(inputs)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("shift", [-60.0, -100.0, 60.0])
def test_a_constant_shift_of_all_scores_changes_no_map(shift):
    """The softmax cancels a constant that is added to all scores of a row."""
    q, k, first, second = tensors(4, "float32")
    first = tf.eye(4)
    wanted = last_map(q, k, first, second)
    # Add a channel in which all queries are equal and all keys are equal.
    q, k = (
        tf.concat([one, tf.fill([B, 4, N, 1], value)], 3) for one, value in ((q, shift), (k, 1.0))
    )
    got = tf.function(last_map)(q, k, first, second)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("add", "right"), [(0.0, True), (30.0, True), (-100.0, False), (100.0, False), (np.nan, False)]
)
def test_overflow_and_nan_in_the_exponentials_are_detected(add, right):
    q, k, _, second = tensors(4, "float32")
    scores = tf.matmul(q, k, transpose_b=True) / 4 + add
    _, sound = _mixed_shares(_exponentials(scores, tf.eye(4)), second, "float32")
    assert bool(sound) == right


def test_a_nan_changes_the_maps_of_its_image_only():
    q, k, *kernels = tensors(4, "bfloat16")
    bad = tf.tensor_scatter_nd_update(q, [[0, 1, 2, 3]], tf.constant([np.nan], q.dtype))
    got = tf.cast(tf.function(last_map)(bad, k, *kernels), tf.float32).numpy()
    wanted = tf.cast(last_map(q, k, *kernels), tf.float32).numpy()
    assert np.isnan(got[0, :, 2]).all()
    np.testing.assert_allclose(got[1], wanted[1], rtol=0, atol=0.02 * np.abs(wanted).max())


@CPU_ALONE
@pytest.mark.parametrize(("heads", "passes"), [(4, 1), (6, 1), (8, 0)])
def test_few_heads_are_mixed_by_xla(heads, passes):
    x, kernel = tf.zeros([B, heads, N, N]), tf.ones([heads, heads])
    assert compiled_parts(tf.function(lambda x: maps.mix(x, kernel)), x) == passes
    function = tf.function(lambda x: maps.map_gradient(x, x, kernel))
    assert compiled_parts(function, x) == 1


@CPU_ALONE
@pytest.mark.parametrize(("heads", "passes"), [(4, 2), (6, 2), (8, 0)])
def test_few_heads_are_mixed_in_two_passes(heads, passes):
    q, *others = tensors(heads, "float32")
    assert compiled_parts(tf.function(lambda q: last_map(q, *others)), q) == passes


def plain_mix(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.einsum("bhnm,hk->bknm", x, kernel)


def assert_near(got: tf.Tensor, wanted: tf.Tensor, dtype: str) -> None:
    """Compare with `wanted`, which is float64."""
    got, wanted = tf.cast(got, tf.float64).numpy(), wanted.numpy()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=NEAR[dtype] * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("heads", [1, 4, 8])
def test_mixing_and_gradients_are_those_of_the_plain_formula(heads, images, dtype):
    random = np.random.default_rng(1)
    x, upstream = (tf.constant(random.normal(size=(images, heads, N, N)), dtype) for _ in range(2))
    kernel = tf.constant(random.normal(size=(heads, heads)), dtype)
    probs = tf.nn.softmax(x)
    exact_x, exact_kernel, exact_upstream = (
        tf.cast(one, tf.float64) for one in (x, kernel, upstream)
    )
    assert_near(maps.mix(x, kernel), plain_mix(exact_x, exact_kernel), dtype)
    with tf.GradientTape() as tape:
        tape.watch([exact_x, exact_kernel])
        mixed = plain_mix(tf.nn.softmax(exact_x), exact_kernel)
    by_x, by_kernel = tape.gradient(mixed, [exact_x, exact_kernel], exact_upstream)
    assert_near(maps.map_gradient(probs, upstream, kernel), by_x, dtype)
    assert_near(maps.kernel_gradient(probs, upstream), by_kernel, dtype)


@CPU_ALONE
@pytest.mark.parametrize(
    ("images", "dtype", "products"),
    [(2, "float32", 2), (4, "float32", 4), (5, "float32", 0), (2, "bfloat16", 0), (None, "float32", 0)],
)  # fmt: skip
def test_few_images_have_products_of_their_own_for_the_gradient_of_a_kernel(
    images, dtype, products
):
    spec = tf.TensorSpec([images, 4, N, N], dtype)
    graph = tf.function(maps.kernel_gradient).get_concrete_function(spec, spec).graph
    types = [one.type for one in graph.get_operations()]
    assert types.count("MatMul") == products
    assert types.count("BatchMatMulV2") == (0 if products else 1)
