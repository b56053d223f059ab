"""AdamW over a parameter table, each update one fused kernel."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.config import OptimizerConfig
from cait_finetune.optim.optimizer import Optimizer
from cait_finetune.optim.parameters import Parameter


class AdamW(Optimizer):
    """Decoupled weight decay (Loshchilov & Hutter 2019) with a rate for each variable.

    For a row of the table, with ``lr = learning_rate * multiplier``::

        w -= lr * weight_decay * w
        w -= lr * m̂ / (sqrt(v̂) + epsilon)

    which is ``torch.optim.AdamW``. The multiplier scales the *update*: scaling the gradient would
    cancel out. Keras' optimizer takes some 40 graph nodes a variable for this and has one rate for
    all; TensorFlow's fused Adam kernel takes five and lets each variable have its own.
    """

    def __init__(self, table: list[Parameter], config: OptimizerConfig) -> None:
        self.rows = [row for row in table if row.trainable]
        self._config = config
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.first = [self._slot(row, "m") for row in self.rows]
        self.second = [self._slot(row, "v") for row in self.rows]

    @staticmethod
    def _slot(row: Parameter, name: str) -> tf.Variable:
        zeros = tf.zeros(row.shape, row.variable.dtype)
        return tf.Variable(zeros, trainable=False, name=f"{row.path}/{name}")

    @property
    def variables(self) -> list[tf.Variable]:
        """What is trained: the gradients of `apply` follow this order."""
        return [row.variable.value for row in self.rows]

    @property
    def state(self) -> dict[str, tf.Variable]:
        slots = {"m": self.first, "v": self.second}
        named = {
            f"{row.path}/{n}": v
            for n, vs in slots.items()
            for row, v in zip(self.rows, vs, strict=True)
        }
        return {"step": self.step, **named}

    def evaluation_values(self) -> None:
        return None

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """One update. In a replica context: `gradients` are already summed over replicas."""
        strategy = tf.distribute.get_strategy()
        if tf.distribute.in_cross_replica_context():
            self._apply(strategy, gradients, learning_rate)
        else:
            context = tf.distribute.get_replica_context()
            context.merge_call(self._apply, args=(gradients, learning_rate))

    def _apply(
        self, strategy: tf.distribute.Strategy, gradients: list[tf.Tensor], learning_rate: tf.Tensor
    ) -> None:
        self.step.assign_add(1)
        t = tf.cast(self.step, tf.float32)
        beta_1_power, beta_2_power = self._config.beta_1**t, self._config.beta_2**t
        # The kernel adds epsilon to sqrt(v), torch to the bias-corrected sqrt(v̂).
        epsilon = self._config.epsilon * tf.sqrt(1.0 - beta_2_power)

        def update(variable: tf.Variable, gradient: tf.Tensor, m: tf.Variable, v: tf.Variable,
                   rate: tf.Tensor, decay: float) -> None:  # fmt: skip
            if decay:
                variable.assign(variable * (1.0 - rate * decay))
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=beta_1_power,
                beta2_power=beta_2_power,
                lr=rate,
                beta1=self._config.beta_1,
                beta2=self._config.beta_2,
                epsilon=epsilon,
                grad=gradient,
            )

        for row, gradient, m, v in zip(self.rows, gradients, self.first, self.second, strict=True):
            rate = learning_rate * row.multiplier
            strategy.extended.update(
                row.variable.value, update, args=(gradient, m, v, rate, row.weight_decay)
            )
