"""The training step, for every device, number of devices and precision."""

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
from cait_tf.fused.micro_batches import infer
from cait_tf.fused.tensorflow import (
    concurrent_micro_batches,
    hoisted_weights,
    tracing_micro_batches,
    training_micro_batches,
)
from cait_tf.heads import is_batch_statistic

#: The columns of a step's metrics, a row of float64.
STEP_METRICS = ("loss", "correct", "grad_norm", "finite")


class TrainStep:
    """``step(images, labels, learning_rates, first)`` trains the model and returns metrics.

    With `steps_per_call` 1, images ``(B, H, W, 3)`` and labels ``(B,)`` or ``(B, C)`` are one
    batch. Above 1, they have an axis of batches in front. The call then makes one step per learning
    rate, from batch number `first` on.

    The metrics are ``(steps, 4)`` float64: mean ``loss``, number of ``correct`` images,
    ``grad_norm`` before clipping, and whether the gradient was ``finite``. A step whose gradient is
    not finite changes no weight.

    The order of operations makes the result independent of the number of devices. Each replica sums
    the gradients of its micro-batches. The replicas sum their gradients. The step clips the global
    norm of the sum, and applies the same update on every replica.

    Args:
        model: the model to train.
        loss: `None`: cross-entropy.
        clip_norm: highest global norm of the gradient. 0: no clipping.
        loss_scale: `None`: no loss scaling.
        jit_compile: whether XLA compiles the step. With several replicas, XLA compiles all parts
            without communication between replicas.
        accumulation: micro-batches per replica. `None`: 1 on an accelerator or with `jit_compile`;
            on a CPU, `training_micro_batches` chooses. A model with statistics of the batch, such
            as those of `keras.layers.BatchNormalization`, has no micro-batches.
        average: an average of the weights. `None`: no average.
        average_steps: whether each step updates `average`. If false, `average` is only part of
            `state`.
        seed: seed of dropout and stochastic depth.
        frozen: a model whose outputs are the inputs of `model`, such as a frozen backbone. It runs
            in inference mode and without a gradient. Micro-batches divide the batch for `frozen` only.
            `None`: `model` takes the images.
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
        frozen: keras.Model | None = None,
    ) -> None:
        self._model = model
        self._frozen = frozen
        self._optimizer = optimizer
        self._strategy = strategy
        self._loss = loss or CrossEntropy()
        self._clip_norm = clip_norm
        self._loss_scale = loss_scale
        self._accumulation = accumulation
        self._jit_compile = jit_compile  # XLA computes micro-batches one after the other
        self._average = average
        self._average_steps = average_steps
        self._statistics = [one for one in model.weights if is_batch_statistic(one.path)]
        self._random = _RandomStates(model, seed)
        with strategy.scope():
            #: Number of steps, including skipped steps. The random numbers of a step depend on it.
            self.count = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps_tried")
        several = strategy.num_replicas_in_sync > 1
        steps = self._one if steps_per_call == 1 else self._many
        # XLA cannot compile the communication of replicas between gradient and update.
        self._run = tf.function(
            steps,
            reduce_retracing=True,
            autograph=False,
            jit_compile=True if jit_compile and not several else None,
        )
        self._gradient, self._inputs = self._gradients, self._frozen_outputs
        if jit_compile and several:
            self._inputs = tf.function(self._inputs, jit_compile=True, autograph=False)
            if not self._statistics:  # BatchNorm reduces the statistics over the replicas
                self._gradient = tf.function(self._gradient, jit_compile=True, autograph=False)

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
        """The variables that a checkpoint saves in addition to the weights, by name."""
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
        inputs = self._inputs(images) if self._frozen else images
        loss, correct, gradients, statistics = self._gradient(inputs, labels, scale, replica)
        if context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        if self._clip_norm:
            shrink = self._clip_norm / tf.maximum(norm, self._clip_norm)
            gradients = [gradient * shrink for gradient in gradients]
        context.merge_call(self._update, args=(gradients, statistics, finite, rate))
        return {"loss": loss, "correct": correct, "grad_norm": norm,
                "finite": tf.cast(finite, tf.float32)}  # fmt: skip

    def _frozen_outputs(self, images: tf.Tensor) -> tf.Tensor:
        """Return the frozen model's outputs for a replica's images, computed in micro-batches."""
        return infer(self._frozen, images, self._accumulation or (1 if self._jit_compile else None))

    def _gradients(
        self, images: tf.Tensor, labels: tf.Tensor, scale: tf.Tensor | None, replica: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Return loss, number of correct images and gradients, summed over micro-batches.

        The last item has the new values of the model's statistics.
        """
        parts = self._micro_batches(images)
        size = images.shape[0] // parts  # images per micro-batch
        draw = (self.count * parts) * self._strategy.num_replicas_in_sync + replica * parts
        if parts == 1:
            return self._part(images, labels, scale, draw, 1)

        def add(number: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            image, label = (
                tf.reshape(whole, [parts, size, *whole.shape[1:]])[number]
                for whole in (images, labels)
            )  # (size, H, W, 3), (size,)
            one = self._part(image, label, scale, draw + tf.cast(number, tf.int64), parts)[:3]
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
        return loss, correct, gradients, []

    def _micro_batches(self, images: tf.Tensor) -> int:
        """Return the number of micro-batches of the trained model."""
        if self._frozen or self._statistics:
            return 1
        if self._accumulation or self._jit_compile:
            return self._accumulation or 1
        return training_micro_batches(self._model, images)

    def _part(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        scale: tf.Tensor | None,
        draw: tf.Tensor,
        parts: int,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Return the results of `_gradients` for one micro-batch."""
        with tf.GradientTape() as tape, self._random.at(draw) as scope:
            logits = self._model(images, training=True)  # (B, C) float32
            losses = self._loss(labels, logits)  # (B,)
            # Divide so that the sum over all micro-batches and replicas is the mean of the batch.
            loss = tf.reduce_mean(losses) / (parts * self._strategy.num_replicas_in_sync)
            scaled = loss if scale is None else loss * scale
        gradients = tape.gradient(scaled, self._optimizer.variables)
        # float32, the widest float of a TPU, counts the few images of a batch exactly.
        correct = tf.reduce_sum(self._loss.correct(labels, logits))
        if scale is not None:
            gradients = [gradient / scale for gradient in gradients]
        statistics = [scope.get_current_value(one) for one in self._statistics]
        return loss, correct, gradients, statistics

    def _update(
        self,
        strategy: tf.distribute.Strategy,
        gradients: list[tf.Tensor],
        statistics: list[tf.Tensor],
        finite: tf.Tensor,
        rate: tf.Tensor,
    ) -> None:
        """Update all variables, once for all replicas."""
        # All replicas have the same summed gradients, so the value of one replica holds for all.
        finite = strategy.experimental_local_results(finite)[0]

        def move() -> tf.Tensor:
            self._optimizer.apply(gradients, rate)
            for variable, value in zip(self._statistics, statistics, strict=True):
                strategy.extended.update(variable.value, _assign, args=(value,))
            if self._average and self._average_steps:
                self._average.update()
            return tf.constant(True)

        tf.cond(finite, move, lambda: tf.constant(False))
        self.count.assign_add(1)
        if self._loss_scale:
            self._loss_scale.update(finite)


def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
    variable.assign(value)


def _zeros_like(variables: Sequence[tf.Variable]) -> list[tf.Tensor]:
    """Return a zero tensor for each variable. Variables of one shape and dtype share a tensor.

    Sharing is safe because no addition writes into a tensor that other operations read.
    """
    zeros = functools.cache(tf.zeros)
    return [zeros(tuple(variable.shape), variable.dtype) for variable in variables]


class _RandomStates:
    """Makes dropout and stochastic depth draw by (seed, layer, number) instead of keeping a state.

    A state that changes with each call would have to be saved for a resume, could not change inside
    a loop over micro-batches, and would give all replicas the same draws.
    """

    def __init__(self, model: keras.Model, seed: Sequence[int]) -> None:
        known = {id(variable) for variable in model.weights}
        self._states = [variable for variable in model.variables if id(variable) not in known]
        self._seeds = np.random.SeedSequence(seed).generate_state(max(1, len(self._states)))

    def at(self, number: tf.Tensor) -> keras.StatelessScope:
        """Return a scope in which the layers draw the random numbers that belong to `number`."""
        return keras.StatelessScope(
            [
                (state, tf.cast(tf.stack([tf.constant(seed, tf.int64), number]), state.dtype))
                for state, seed in zip(self._states, self._seeds.tolist(), strict=False)
            ]
        )
