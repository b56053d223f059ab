"""Casts between half precision and float32, in which the compiled operations compute."""

from __future__ import annotations

import tensorflow as tf

from cait_tf.fused.compiled import compiles


def to_float32(x: tf.Tensor) -> tf.Tensor:
    """Cast half precision to float32; float64 stays."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def to_compute_dtype(x: tf.Tensor, dtype: tf.DType | str) -> tf.Tensor:
    """Round to `dtype`. For bfloat16 on a CPU, ties round away from zero.

    XLA's own cast to bfloat16 takes ten instructions, for NaN and for ties to even. A NaN stays a NaN if
    arithmetic made it: quiet, with bits below 0x7FFF8000.
    """
    dtype = tf.as_dtype(dtype)
    if dtype != tf.bfloat16 or x.dtype != tf.float32 or not compiles():
        return tf.cast(x, dtype)
    half = tf.bitcast(x, tf.uint32) + 0x8000
    return tf.bitcast(tf.cast(tf.bitwise.right_shift(half, 16), tf.uint16), tf.bfloat16)
