"""The training step, written once for every device, number of devices and precision."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.optim.optimizer import Optimizer
from cait_finetune.runtime.tuning import tuned_call
from cait_finetune.train.average import MovingAverage
from cait_finetune.train.loss import CrossEntropy, Loss
from cait_finetune.train.loss_scale import LossScale
from cait_tf.fused.tensorflow import (
    concurrent_micro_batches,
    hoisted_weights,
    tracing_micro_batches,
    training_micro_batches,
)

#: What a step says of itself: a row of float64 with one column for each.
STEP_METRICS = ("loss", "correct", "grad_norm", "finite")


class TrainStep:
    """``step(images, labels, learning_rates, first)`` updates the model and returns the metrics of steps.

    Images and labels are one batch, ``(B, S, S, 3)`` and ``(B,)`` or ``(B, C)``, or with
    `steps_per_call` above 1 several batches with an axis in front, of which as many as there are
    learning rates are used, from number `first` on. Metrics are ``(steps, 4)``: mean ``loss``,
    ``correct`` images, ``grad_norm`` before clipping, and whether the gradient was ``finite``. A step
    whose gradient is not moves nothing.

    The order that makes the result the same on any number of devices: each replica sums its
    gradients over its parts of the batch, then the replicas' are summed, then the global norm is
    taken and clipped, then everything is updated alike everywhere. The parts are `accumulation`, or
    where that is None as many as a CPU takes side by side. An `average` follows each step unless
    `average_steps` is false, when it is only kept in the state.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Optimizer,
        strategy: tf.distribute.Strategy,
        loss: Loss | None = None,
        clip_norm: float = 0.0,
        loss_scale: LossScale | None = None,
        jit_compile: bool = False,
        accumulation: int | None = 1,
        average: MovingAverage | None = None,
        average_steps: bool = True,
        steps_per_call: int = 1,
        seed: Sequence[int] = (0,),
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._strategy = strategy
        self._loss = loss or CrossEntropy()
        self._clip_norm = clip_norm
        self._loss_scale = loss_scale
        self._accumulation = accumulation
        self._jit_compile = jit_compile  # XLA takes parts one after the other
        self._average = average
        self._average_steps = average_steps
        self._random = _RandomStates(model, seed)
        with strategy.scope():
            #: Steps tried, skipped ones too: what the draws of a step depend on.
            self.count = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_tried")
        several = strategy.num_replicas_in_sync > 1
        steps = self._one if steps_per_call == 1 else self._many
        # Replicas talk to each other between gradient and update, which XLA cannot compile.
        self._run = tf.function(
            steps,
            reduce_retracing=True,
            autograph=False,
            jit_compile=True if jit_compile and not several else None,
        )
        self._gradient = (
            tf.function(self._gradients, jit_compile=True, autograph=False)
            if jit_compile and several
            else self._gradients
        )

    def __call__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        learning_rates: Sequence[float] | tf.Tensor,
        first: int = 0,
    ) -> tf.Tensor:
        rates = tf.reshape(tf.cast(learning_rates, tf.float32), [-1])
        with tuned_call(self._run):
            return self._run(images, labels, rates, tf.constant(first))

    @property
    def state(self) -> dict[str, tf.Variable]:
        """What a checkpoint has to hold besides the weights."""
        state = {f"optimizer/{name}": value for name, value in self._optimizer.state.items()}
        state["steps_tried"] = self.count
        if self._loss_scale:
            state |= {f"loss_scale/{key}": value for key, value in vars(self._loss_scale).items()}
        if self._average:
            state |= {f"average/{name}": value for name, value in self._average.state.items()}
        return state

    def _one(
        self, images: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor, _: tf.Tensor
    ) -> tf.Tensor:
        return self._step(images, labels, rates[0])[None]  # (1, 4)

    def _many(
        self, images: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor, first: tf.Tensor
    ) -> tf.Tensor:
        steps = tf.shape(rates)[0]

        def one(number: tf.Tensor, metrics: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            parts = [
                self._strategy.run(lambda stack, n: stack[n], args=(stack, first + number))
                for stack in (images, labels)
            ]  # (steps, B, ..) -> (B, ..)
            return number + 1, metrics.write(number, self._step(*parts, rates[number]))

        start = (tf.constant(0), tf.TensorArray(tf.float64, size=steps))
        _, metrics = tf.while_loop(lambda number, _: number < steps, one, start)
        return metrics.stack()  # (steps, 4)

    def _step(self, images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        metrics = self._strategy.run(self._replica_step, args=(images, labels, rate))
        loss, correct, norm, finite = (
            self._strategy.reduce(how, metrics[name], axis=None)
            for name, how in zip(STEP_METRICS, ("SUM", "SUM", "MEAN", "MEAN"), strict=True)
        )
        return tf.stack([tf.cast(one, tf.float64) for one in (loss, correct, norm, finite)])

    def _replica_step(
        self, images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int64)
        scale = self._loss_scale.scale.value() if self._loss_scale else None
        loss, correct, gradients = self._gradient(images, labels, scale, replica)
        if context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        if self._clip_norm:
            shrink = self._clip_norm / tf.maximum(norm, self._clip_norm)
            gradients = [gradient * shrink for gradient in gradients]
        context.merge_call(self._update, args=(gradients, finite, rate))
        return {"loss": loss, "correct": correct, "grad_norm": norm,
                "finite": tf.cast(finite, tf.float32)}  # fmt: skip

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor | None, replica: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """A replica's loss, correct images and gradients, summed over its parts of the batch."""
        parts = self._accumulation or (
            1 if self._jit_compile else training_micro_batches(self._model, images)
        )
        size = images.shape[0] // parts  # of a part
        draw = (self.count * parts) * self._strategy.num_replicas_in_sync + replica * parts
        if parts == 1:
            return self._part(images, labels, scale, draw, 1)

        def add(number: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            image, label = (
                tf.reshape(whole, [parts, size, *whole.shape[1:]])[number]
                for whole in (images, labels)
            )  # (size, S, S, 3), (size,)
            one = self._part(image, label, scale, draw + tf.cast(number, tf.int64), parts)
            flat = tf.nest.flatten(one)
            return number + 1, *(total + new for total, new in zip(sums, flat, strict=True))

        zeros = _zeros_like(self._optimizer.variables)
        start = (tf.constant(0), tf.constant(0.0), tf.constant(0.0), *zeros)
        with hoisted_weights(), tracing_micro_batches():
            _, loss, correct, *gradients = tf.while_loop(
                lambda number, *_: number < parts,
                add,
                start,
                maximum_iterations=parts,
                parallel_iterations=concurrent_micro_batches(parts),
            )
        return loss, correct, gradients

    def _part(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        scale: tf.Tensor | None,
        draw: tf.Tensor,
        parts: int,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Of one of a replica's parts."""
        with tf.GradientTape() as tape, self._random.at(draw):
            logits = self._model(images, training=True)  # (B, C) float32
            losses = self._loss(labels, logits)  # (B,)
            # This part's share of the global batch's mean, so that the sum over parts is it.
            loss = tf.reduce_mean(losses) / (parts * self._strategy.num_replicas_in_sync)
            scaled = loss if scale is None else loss * scale
        gradients = tape.gradient(scaled, self._optimizer.variables)
        # Exact in float32, the widest that a TPU has: a batch holds few images.
        correct = tf.reduce_sum(self._loss.correct(labels, logits))
        if scale is not None:
            gradients = [gradient / scale for gradient in gradients]
        return loss, correct, gradients

    def _update(
        self,
        strategy: tf.distribute.Strategy,
        gradients: list[tf.Tensor],
        finite: tf.Tensor,
        rate: tf.Tensor,
    ) -> None:
        """Everything that changes, once for all replicas."""
        # The gradients were summed over the replicas: what one thinks of them, all do.
        finite = strategy.experimental_local_results(finite)[0]

        def move() -> tf.Tensor:
            self._optimizer.apply(gradients, rate)
            if self._average and self._average_steps:
                self._average.update()
            return tf.constant(True)

        tf.cond(finite, move, lambda: tf.constant(False))
        self.count.assign_add(1)
        if self._loss_scale:
            self._loss_scale.update(finite)


def _zeros_like(variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
    """One tensor for all variables of a shape and dtype: nothing is added into what others read."""
    zeros = functools.cache(tf.zeros)
    return [zeros(tuple(variable.shape), variable.dtype) for variable in variables]


class _RandomStates:
    """Lets every dropout and drop path draw by (seed, layer, number), and keep no state.

    A state that each call moves on would be one more thing to resume, could not be moved inside a
    loop over parts of a batch, and would give all replicas the same draws.
    """

    def __init__(self, model: keras.Model, seed: Sequence[int]) -> None:
        known = {id(variable) for variable in model.weights}
        self._states = [variable for variable in model.variables if id(variable) not in known]
        self._seeds = np.random.SeedSequence(seed).generate_state(max(1, len(self._states)))

    def at(self, number: tf.Tensor) -> keras.StatelessScope:
        """A scope in which the layers draw what belongs to `number`."""
        return keras.StatelessScope(
            [
                (state, tf.cast(tf.stack([tf.constant(seed, tf.int64), number]), state.dtype))
                for state, seed in zip(self._states, self._seeds.tolist(), strict=False)
            ]
        )
