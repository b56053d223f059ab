"""AdamW with one fused op per update."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.optim.optimizer import Optimizer


class AdamW(Optimizer):
    """AdamW with decoupled weight decay, as in ``torch.optim.AdamW``.

    Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101. With
    ``lr = learning_rate * multiplier``::

        w -= lr * weight_decay * w
        w -= lr * m̂ / (sqrt(v̂) + epsilon)
    """

    slots = ("m", "v")

    def _constants(self, t: tf.Tensor) -> dict[str, tf.Tensor]:
        beta_1, beta_2 = self._betas
        beta_2_power = tf.pow(beta_2, t)
        return {
            "beta1": tf.constant(beta_1, tf.float32),
            "beta2": tf.constant(beta_2, tf.float32),
            "beta1_power": tf.pow(beta_1, t),
            "beta2_power": beta_2_power,
            # The op adds epsilon to sqrt(v); torch adds epsilon to the bias-corrected sqrt(v̂).
            "epsilon": self._epsilon * tf.sqrt(1.0 - beta_2_power),
        }

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
        if decay:
            variable.assign(variable * (1.0 - rate * decay))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            lr=rate,
            grad=gradient,
            **constants,
        )
