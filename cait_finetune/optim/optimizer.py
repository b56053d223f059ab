"""Base class of the optimizers: rows, slots, and updates on every replica.

A Keras optimizer has one learning rate for all variables, and many graph nodes per variable. Here
each row of the parameter table has its own learning rate, with few nodes.
"""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from cait_finetune.config import OptimizerConfig
from cait_finetune.config.checks import given
from cait_finetune.optim.parameters import Parameter


class Optimizer(abc.ABC):
    """Updates the trained rows of a parameter table.

    A subclass names its `slots`, which are variables of the shape of each row, and updates one row
    in `_update`. The row's multiplier scales its *update*. A multiplier on the gradient would
    cancel out in any rule that divides by the gradient's size.
    """

    #: Names of the slots of each row.
    slots: tuple[str, ...] = ()

    def __init__(self, table: list[Parameter], config: OptimizerConfig) -> None:
        self.rows = [row for row in table if row.trainable]
        self._config = config
        start: Any = 0  # TensorFlow's stubs expect a tensor
        self.step = tf.Variable(start, dtype=tf.int64, trainable=False, name="step")
        self._slots = {
            slot: [
                tf.Variable(self._initial(slot, row), trainable=False, name=f"{row.path}/{slot}")
                for row in self.rows
            ]
            for slot in self.slots
        }

    @property
    def variables(self) -> list[tf.Variable]:
        """The trained variables. The gradients for `apply` have the same order."""
        return [row.variable.value for row in self.rows]

    @property
    def state(self) -> dict[str, tf.Variable]:
        """The variables, by name, that a resumed run must restore before its next update."""
        slots = {
            f"{row.path}/{slot}": variable
            for slot, variables in self._slots.items()
            for row, variable in zip(self.rows, variables, strict=True)
        }
        return {"step": self.step, **slots}

    def evaluation_values(self) -> list[tf.Tensor] | None:
        """Return the values of `variables` for evaluation. `None`: their current values."""
        return None

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Make one update, in a replica context or in cross-replica context.

        Args:
            gradients: already summed over the replicas, in the order of `variables`.
            learning_rate: float32 scalar.
        """
        strategy = tf.distribute.get_strategy()
        if tf.distribute.in_cross_replica_context():
            self._apply(strategy, gradients, learning_rate)
        else:
            context = tf.distribute.get_replica_context()
            context.merge_call(self._apply, args=(gradients, learning_rate))

    def _apply(
        self, strategy: tf.distribute.Strategy, gradients: list[tf.Tensor], learning_rate: tf.Tensor
    ) -> None:
        # All replicas have computed the same learning rate.
        learning_rate = strategy.experimental_local_results(learning_rate)[0]
        self.step.assign_add(1)
        constants = self._constants(tf.cast(self.step, tf.float32))
        # Rows with the same multiplier share a rate, because each graph node delays the first step.
        multipliers = {row.multiplier for row in self.rows}
        rates = {multiplier: learning_rate * multiplier for multiplier in sorted(multipliers)}
        slots = zip(*self._slots.values(), strict=True)
        for row, gradient, own in zip(self.rows, gradients, slots, strict=True):

            def update(
                variable: tf.Variable,
                gradient: tf.Tensor,
                rate: tf.Tensor,
                *own: tf.Variable,
                decay: float = row.weight_decay,
            ) -> None:
                self._update(variable, gradient, rate, decay, constants, *own)

            rate = rates[row.multiplier]
            strategy.extended.update(row.variable.value, update, args=(gradient, rate, *own))

    def _initial(self, slot: str, row: Parameter) -> tf.Tensor:
        return tf.zeros(row.shape, row.variable.dtype)

    @property
    def _betas(self) -> tuple[float, float]:
        return given(self._config.beta_1), given(self._config.beta_2)

    @property
    def _epsilon(self) -> float:
        return given(self._config.epsilon)

    def _constants(self, t: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the values of update number t, counted from 1, that all rows share."""
        return {}

    @abc.abstractmethod
    def _update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        rate: tf.Tensor,
        decay: float,
        constants: dict[str, tf.Tensor],
        *slots: tf.Variable,
    ) -> None:
        """Update one row on one device. `rate` includes the row's multiplier."""
