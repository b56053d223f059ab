"""LAMB, an optimizer for large batches."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.optim.optimizer import Optimizer


class Lamb(Optimizer):
    """LAMB: Adam's update, scaled to the norm of the weights.

    You et al. 2020, https://arxiv.org/abs/1904.00962::

        r  = m̂ / (sqrt(v̂) + epsilon) + weight_decay * w
        w -= lr * ‖w‖ / ‖r‖ * r

    Rows without weight decay (biases, norms) use Adam's update without the scaling, as in the
    authors' code and in timm.
    """

    slots = ("m", "v")

    def _constants(self, t: tf.Tensor) -> dict[str, tf.Tensor]:
        beta_1, beta_2 = self._betas
        return {"correction_1": 1.0 - tf.pow(beta_1, t), "correction_2": 1.0 - tf.pow(beta_2, t)}

    def _update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        decay: float,
        constants: dict[str, tf.Tensor],
        *slots: tf.Variable,
    ) -> None:
        m, v = slots
        beta_1, beta_2 = self._betas
        m_new = m.assign(beta_1 * m + (1.0 - beta_1) * gradient)
        v_new = v.assign(beta_2 * v + (1.0 - beta_2) * tf.square(gradient))
        denominator = tf.sqrt(v_new / constants["correction_2"]) + self._epsilon
        step = m_new / constants["correction_1"] / denominator
        if decay:
            step += decay * variable
            lengths = tf.norm(variable), tf.norm(step)
            # Do not scale if the row or its update is zero.
            known = tf.logical_and(lengths[0] > 0, lengths[1] > 0)
            step *= tf.where(known, tf.math.divide_no_nan(*lengths), 1.0)
        variable.assign_sub(rate * step)
