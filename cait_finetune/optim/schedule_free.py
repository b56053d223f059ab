"""Schedule-free AdamW: an average of the weights replaces the decay of the learning rate."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.optim.optimizer import Optimizer
from cait_finetune.optim.parameters import Parameter


class ScheduleFreeAdamW(Optimizer):
    """Schedule-free AdamW (Defazio et al. 2024, https://arxiv.org/abs/2405.15682) with a plain mean.

    Adam without momentum updates z. x is the mean of all z so far, and is evaluated. y lies between
    z and x. The model holds y during training, and the gradients are taken at y::

        z -= lr * (g / (sqrt(v̂) + epsilon) + weight_decay * y)
        x  = (1 - 1/t) * x + z / t
        y  = (1 - beta_1) * z + beta_1 * x

    The optimizer keeps only y and z, and computes x from them before it updates z. (Keras 3.15's
    optimizer of the same name has the same rule, but on TensorFlow it reads z after the update.)
    The rule needs a constant learning rate after the warm-up.
    """

    slots = ("z", "v")

    def _initial(self, slot: str, row: Parameter) -> tf.Tensor:
        if slot == "z":
            return tf.identity(row.variable.value)
        return super()._initial(slot, row)

    def _constants(self, t: tf.Tensor) -> dict[str, tf.Tensor]:
        _, beta_2 = self._betas
        return {"weight": 1.0 / t, "correction": 1.0 - tf.pow(beta_2, t)}

    def _update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        decay: float,
        constants: dict[str, tf.Tensor],
        *slots: tf.Variable,
    ) -> None:
        z, v = slots
        beta_1, beta_2 = self._betas
        x = self._mean(variable, z)
        v_new = v.assign(beta_2 * v + (1.0 - beta_2) * tf.square(gradient))
        step = gradient / (tf.sqrt(v_new / constants["correction"]) + self._epsilon)
        if decay:
            step += decay * variable
        z_new = z.assign_sub(rate * step)
        x += constants["weight"] * (z_new - x)
        variable.assign(z_new + beta_1 * (x - z_new))

    def _mean(self, y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """Return x, computed from y and z."""
        beta_1, _ = self._betas
        return z + (y - z) / beta_1

    def evaluation_values(self) -> list[tf.Tensor] | None:
        """Return the averages x."""
        pairs = zip(self.variables, self._slots["z"], strict=True)
        return [self._mean(tf.identity(y), tf.identity(z)) for y, z in pairs]
