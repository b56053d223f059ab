"""Approximations of Φ and the exponential against float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf.fused import compiled
from cait_tf.fused.approximations import exponential, normal_cdf
from tests.cait_tf.fused.xla import CPU_ALONE

HALF = [tf.bfloat16, tf.float16]


def by_xla(function, x: np.ndarray, dtype: tf.DType) -> np.ndarray:
    compute = tf.function(lambda x: function(x, dtype), jit_compile=True, autograph=False)
    return compute(tf.constant(x, tf.float32)).numpy()


def exact_cdf(y: np.ndarray) -> np.ndarray:
    wide = tf.constant(y, tf.float64)
    return (0.5 * tf.math.erfc(-wide / 2**0.5)).numpy()


@CPU_ALONE
@pytest.mark.parametrize("dtype", HALF, ids=lambda one: one.name)
def test_normal_cdf_for_half_precision_is_near_everywhere(dtype):
    y = np.linspace(-12, 12, 100_001, dtype="float32")
    got = by_xla(normal_cdf, y, dtype)
    assert np.abs(got - exact_cdf(y)).max() < 4.3e-6
    # Otherwise the GELU of a large negative number would not be near zero.
    np.testing.assert_allclose(got[[0, -1]], [0, 1], rtol=0, atol=1e-6)


@CPU_ALONE
@pytest.mark.parametrize("dtype", HALF, ids=lambda one: one.name)
def test_exponential_for_half_precision_is_relatively_near(dtype):
    x = np.linspace(-86.6, 88, 100_001, dtype="float32")
    assert np.abs(by_xla(exponential, x, dtype) / np.exp(x.astype("float64")) - 1).max() < 8.5e-5


@CPU_ALONE
def test_exponential_ends_at_normal_numbers_and_keeps_nan():
    got = by_xla(exponential, np.array([-np.inf, -1e9, 1e9, np.inf, np.nan]), tf.bfloat16)
    np.testing.assert_allclose(got[:4], [2.0**-125] * 2 + [2.0**127] * 2, rtol=2e-4)
    assert np.isnan(got[4])


@pytest.mark.parametrize("function", [exponential, normal_cdf])
def test_float32_uses_the_functions_of_tensorflow(function):
    x = tf.constant(np.linspace(-6, 6, 1001), tf.float32)
    wide = tf.cast(x, tf.float64)
    np.testing.assert_allclose(
        function(x, tf.float32), function(wide, tf.float64), rtol=2e-6, atol=2e-7
    )


@pytest.mark.parametrize("function", [exponential, normal_cdf])
def test_half_precision_without_xla_uses_the_functions_of_tensorflow(function, monkeypatch):
    """Without XLA, TensorFlow's function is used: a polynomial would be many operations."""
    monkeypatch.setattr(compiled, "cpu_alone", lambda: False)
    x = tf.constant(np.linspace(-6, 6, 1001), tf.float32)
    np.testing.assert_array_equal(function(x, tf.bfloat16), function(x, tf.float32))
