"""Casts between half precision and float32. The compiled operations compute in float32."""

from __future__ import annotations

import tensorflow as tf

from cait_tf.fused.compiled import compiles


def to_float32(x: tf.Tensor) -> tf.Tensor:
    """Cast to float32, but leave float64 as it is."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def to_compute_dtype(x: tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """Round to `dtype`. Ties round away from zero in a cast from float32 to bfloat16 on a CPU.

    XLA's own cast to bfloat16 takes more instructions, because it handles NaN and rounds ties to
    even. This function keeps every NaN that arithmetic produces. Such a NaN is quiet, and its bits
    without the sign are below 0x7FFF8000.
    """
    dtype = tf.as_dtype(dtype)
    if dtype != tf.bfloat16 or x.dtype != tf.float32 or not compiles():
        return tf.cast(x, dtype)
    half = tf.bitcast(x, tf.uint32) + 0x8000
    return tf.bitcast(tf.cast(tf.bitwise.right_shift(half, 16), tf.uint16), tf.bfloat16)
