"""Dynamic loss scaling for float16, in which gradients below 6e-8 underflow."""

from __future__ import annotations

import tensorflow as tf

_INITIAL, _GROWTH_STEPS, _FACTOR = 2.0**15, 2000, 2.0


class LossScale:
    """A power of two. A non-finite gradient halves it; 2000 finite gradients in a row double it.

    Micikevicius et al. 2018, https://arxiv.org/abs/1710.03740.
    """

    def __init__(self) -> None:
        self.scale = tf.Variable(_INITIAL, trainable=False, name="loss_scale")
        self.good_steps = tf.Variable(0, trainable=False, name="good_steps")

    def update(self, finite: tf.Tensor) -> None:
        """Update the scale after a step.

        Args:
            finite: bool scalar, whether all gradients of the step were finite.
        """
        grow = tf.logical_and(finite, self.good_steps + 1 >= _GROWTH_STEPS)
        shrunk = tf.maximum(self.scale / _FACTOR, 1.0)
        kept = tf.where(grow, self.scale * _FACTOR, self.scale)
        self.good_steps.assign(tf.where(tf.logical_and(finite, ~grow), self.good_steps + 1, 0))
        self.scale.assign(tf.where(finite, kept, shrunk))
