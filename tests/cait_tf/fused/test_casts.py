"""Rounding to half precision against a cast."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf.fused import compiled
from cait_tf.fused.casts import to_compute_dtype, to_float32

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3.4e38, np.finfo("float32").max]


def as_float32(x: tf.Tensor) -> np.ndarray:
    return tf.cast(x, tf.float32).numpy()


def numbers() -> tf.Tensor:
    """Return float32 numbers of all magnitudes, with one NaN and without bfloat16 ties."""
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype="uint32")
    some = bits[bits & 0xFFFF != 0x8000].view("float32")
    return tf.constant(np.concatenate([some[~np.isnan(some)], np.float32(SPECIAL)]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("by_xla", [True, False], ids=["xla", "plain"])
def test_to_compute_dtype_equals_a_cast(by_xla, dtype, monkeypatch):
    monkeypatch.setattr(compiled, "cpu_alone", lambda: by_xla)
    x = numbers()
    got = tf.function(lambda x: to_compute_dtype(x, dtype), jit_compile=by_xla, autograph=False)(x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(as_float32(got), as_float32(tf.cast(x, dtype)))


def test_to_compute_dtype_rounds_ties_away_from_zero(monkeypatch):
    monkeypatch.setattr(compiled, "cpu_alone", lambda: True)
    even, odd = 1.0, 1.0 + 2**-7
    x = tf.constant([even + 2**-8, odd + 2**-8, -even - 2**-8])
    np.testing.assert_array_equal(
        as_float32(to_compute_dtype(x, "bfloat16")), [odd, odd + 2**-7, -odd]
    )


def test_float64_is_cast_and_stays_exact():
    x = tf.constant([1 / 3], tf.float64)
    assert to_compute_dtype(x, "bfloat16").dtype == "bfloat16"
    assert to_float32(x) is x
