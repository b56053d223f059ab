"""Lion, which updates by the sign of a momentum."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.optim.optimizer import Optimizer


class Lion(Optimizer):
    """Lion, with half of Adam's optimizer state.

    Use a learning rate 3 to 10 times lower than AdamW's, and a weight decay 3 to 10 times higher
    (Chen et al. 2023, https://arxiv.org/abs/2302.06675)::

        w -= lr * (sign(beta_1 * m + (1 - beta_1) * g) + weight_decay * w)
        m  = beta_2 * m + (1 - beta_2) * g
    """

    slots = ("m",)

    def _update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        decay: float,
        constants: dict[str, tf.Tensor],
        *slots: tf.Variable,
    ) -> None:
        (m,) = slots
        beta_1, beta_2 = self._betas
        step = tf.sign(beta_1 * m + (1.0 - beta_1) * gradient)
        if decay:
            step += decay * variable
        variable.assign_sub(rate * step)
        m.assign(beta_2 * m + (1.0 - beta_2) * gradient)
