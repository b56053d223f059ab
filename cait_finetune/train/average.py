"""Averages of the weights: exponential over steps, or the plain mean over epochs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf


class MovingAverage:
    """A second set of the trained variables that follows them.

    ``average += (1 - decay) * (weight - average)`` after each step. With `warmup` the decay is at
    most ``(1 + t) / (10 + t)`` after t updates, so that the random start is soon forgotten
    (`tf.train.ExponentialMovingAverage`'s rule for ``num_updates``). To be made in a strategy's scope.
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
        """What a checkpoint has to hold."""
        numbered = {str(number): value for number, value in enumerate(self.values)}
        return {"updates": self.updates, **numbered}

    def present(self) -> list[tf.Tensor] | None:
        """The averages, or None before the first update."""
        return (
            [tf.identity(value) for value in self.values]
            if int(tf.identity(self.updates))
            else None
        )

    def update(self) -> None:
        """Follow one step. To be called outside of replicas, as the optimizer's update is."""
        t = tf.cast(self.updates.assign_add(1), tf.float32)
        decay = tf.constant(self._decay)
        if self._warmup:
            decay = tf.minimum(decay, (1.0 + t) / (10.0 + t))
        self._blend(1.0 - decay)

    def add(self) -> None:
        """Take the weights into a plain mean: their share is one in all that were added.

        To be called outside of the step, where nobody has entered the strategy's scope.
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
    """The variables hold other values for a while, and then their own again, bit by bit.

    With None they keep their own.
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
