"""Averages of the weights: exponential over steps, or the arithmetic mean over epochs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf


class MovingAverage:
    """Average of the trained variables, in a second set of variables.

    ``average += (1 - decay) * (weight - average)`` after each step. With `warmup` the decay is at
    most ``(1 + t) / (10 + t)`` after t updates, so that the average soon forgets the random start
    (the rule of `tf.train.ExponentialMovingAverage` for ``num_updates``). Create the object in the
    scope of the strategy.
    """

    def __init__(self, variables: list[tf.Variable], decay: float, warmup: bool) -> None:
        self._variables = variables
        self._decay = decay
        self._warmup = warmup
        self._strategy = tf.distribute.get_strategy()
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.values = [
            tf.Variable(variable, trainable=False, name=f"average_{number}")
            for number, variable in enumerate(variables)
        ]

    @property
    def state(self) -> dict[str, tf.Variable]:
        """The variables that a checkpoint saves, by name."""
        numbered = {str(number): value for number, value in enumerate(self.values)}
        return {"updates": self.updates, **numbered}

    def present(self) -> list[tf.Tensor] | None:
        """Return the averages, or `None` before the first update."""
        return (
            [tf.identity(value) for value in self.values]
            if int(tf.identity(self.updates))
            else None
        )

    def update(self) -> None:
        """Update the exponential average after a step. Call it in cross-replica context."""
        t = tf.cast(self.updates.assign_add(1), tf.float32)
        decay = tf.constant(self._decay)
        if self._warmup:
            decay = tf.minimum(decay, (1.0 + t) / (10.0 + t))
        self._blend(1.0 - decay)

    def add(self) -> None:
        """Add the current weights to an arithmetic mean of all weights added so far.

        Call it outside of the step, where no strategy scope is active.
        """
        with self._strategy.scope():
            t = tf.cast(self.updates.assign_add(1), tf.float32)
            self._blend(1.0 / t)

    def _blend(self, share: tf.Tensor) -> None:
        def towards(value: tf.Variable, variable: tf.Variable) -> None:
            value.assign_add(share * (variable - value))

        for value, variable in zip(self.values, self._variables, strict=True):
            self._strategy.extended.update(value, towards, args=(variable,))


@contextlib.contextmanager
def holding(variables: list[tf.Variable], values: list[tf.Tensor] | None) -> Iterator[None]:
    """Assign other values to the variables inside the block, then restore the exact previous values.

    Args:
        values: one tensor per variable. `None`: the variables keep their values.
    """
    if values is None:
        yield
        return
    own = [tf.identity(variable) for variable in variables]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
