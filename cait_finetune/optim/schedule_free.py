"""Schedule-free AdamW: an average of the weights takes the place of a falling learning rate."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.optim.optimizer import Optimizer
from cait_finetune.optim.parameters import Parameter


class ScheduleFreeAdamW(Optimizer):
    """Defazio et al. 2024, https://arxiv.org/abs/2405.15682, with equal weights in the mean.

    Adam (without momentum) moves z; x is the mean of all z so far, and what is evaluated; gradients
    are taken at y between them, which is what the model holds while it is trained::

        z -= lr * (g / (sqrt(v̂) + epsilon) + weight_decay * y)
        x  = (1 - 1/t) * x + z / t
        y  = (1 - beta_1) * z + beta_1 * x

    Only y and z are kept: x follows from them, before z moves. (Keras 3.15's optimizer of this name
    has the same rule, but on TensorFlow it reads z when that has moved already.) Needs a constant
    learning rate after the warm-up.
    """

    slots = ("z", "v")

    def _initial(self, slot: str, row: Parameter) -> tf.Tensor:
        if slot == "z":
            return tf.identity(row.variable.value)
        return super()._initial(slot, row)

    def _constants(self, t: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"weight": 1.0 / t, "correction": 1.0 - self._config.beta_2**t}

    def _update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        decay: float,
        constants: dict[str, tf.Tensor],
        z: tf.Variable,
        v: tf.Variable,
    ) -> None:
        config = self._config
        x = self._mean(variable, z)
        v_new = v.assign(config.beta_2 * v + (1.0 - config.beta_2) * tf.square(gradient))
        step = gradient / (tf.sqrt(v_new / constants["correction"]) + config.epsilon)
        if decay:
            step += decay * variable
        z_new = z.assign_sub(rate * step)
        x += constants["weight"] * (z_new - x)
        variable.assign(z_new + config.beta_1 * (x - z_new))

    def _mean(self, y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """x, of which y and z are known."""
        return z + (y - z) / self._config.beta_1

    def evaluation_values(self) -> list[tf.Tensor] | None:
        """The averages x."""
        pairs = zip(self.variables, self._slots["z"], strict=True)
        return [self._mean(tf.identity(y), tf.identity(z)) for y, z in pairs]
