"""What every optimizer has in common: rows, slots, and how an update reaches every replica.

Keras' optimizers have one learning rate for all variables and take some 40 graph nodes for each;
here each row of the parameter table has its own rate, in a few nodes.
"""

from __future__ import annotations

import abc

import tensorflow as tf

from cait_finetune.config import OptimizerConfig
from cait_finetune.optim.parameters import Parameter


class Optimizer(abc.ABC):
    """Updates the trained rows of a parameter table.

    A subclass names its `slots`, variables of the shape of each row, and says in `_update` what
    happens to one row. The row's multiplier scales its *update*: scaling the gradient would cancel
    out wherever a rule divides by the gradient's size.
    """

    #: Names of the slots of each row.
    slots: tuple[str, ...] = ()

    def __init__(self, table: list[Parameter], config: OptimizerConfig) -> None:
        self.rows = [row for row in table if row.trainable]
        self._config = config
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._slots = {
            slot: [
                tf.Variable(self._initial(slot, row), trainable=False, name=f"{row.path}/{slot}")
                for row in self.rows
            ]
            for slot in self.slots
        }

    @property
    def variables(self) -> list[tf.Variable]:
        """What is trained: the gradients of `apply` follow this order."""
        return [row.variable.value for row in self.rows]

    @property
    def state(self) -> dict[str, tf.Variable]:
        """Everything that has to be restored for the next update to be the same."""
        slots = {
            f"{row.path}/{slot}": variable
            for slot, variables in self._slots.items()
            for row, variable in zip(self.rows, variables, strict=True)
        }
        return {"step": self.step, **slots}

    def evaluation_values(self) -> list[tf.Tensor] | None:
        """What the variables should hold when they are evaluated; None if it is what they hold."""
        return None

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """One update, with gradients that are already summed over replicas.

        In a replica's context or outside of any.
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
        # A rate that each replica computed for itself is the same in all of them.
        learning_rate = strategy.experimental_local_results(learning_rate)[0]
        self.step.assign_add(1)
        constants = self._constants(tf.cast(self.step, tf.float32))
        # Rows of one multiplier share a rate: every node of the graph puts a run's first step off.
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

    def _constants(self, t: tf.Tensor) -> dict[str, tf.Tensor]:
        """What of update number t, counted from 1, is the same for all rows."""
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
        """Update one row on one device; `rate` has its multiplier in it."""
