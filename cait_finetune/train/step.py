"""The training step, written once for every device and precision."""

from __future__ import annotations

import keras
import tensorflow as tf

from cait_finetune.optim.adamw import AdamW
from cait_finetune.train.loss import cross_entropy
from cait_finetune.train.loss_scale import LossScale


class TrainStep:
    """``step(images, labels, learning_rate)`` updates the model and returns the step's figures.

    The figures are scalars: ``loss``, ``correct`` (images), ``grad_norm`` before clipping, ``finite``.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: AdamW,
        strategy: tf.distribute.Strategy,
        label_smoothing: float = 0.0,
        clip_norm: float = 0.0,
        loss_scale: LossScale | None = None,
        jit_compile: bool = False,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._strategy = strategy
        self._label_smoothing = label_smoothing
        self._clip_norm = clip_norm
        self._loss_scale = loss_scale
        self._run = tf.function(self._distributed_step, jit_compile=jit_compile or None)

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        return self._run(images, labels, learning_rate)

    def _distributed_step(
        self, images: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        figures = self._strategy.run(self._replica_step, args=(images, labels, learning_rate))
        return {
            "loss": self._strategy.reduce("SUM", figures["loss"], axis=None),
            "correct": self._strategy.reduce("SUM", figures["correct"], axis=None),
            "grad_norm": self._strategy.reduce("MEAN", figures["grad_norm"], axis=None),
            "finite": self._strategy.reduce("MEAN", figures["finite"], axis=None),
        }

    def _replica_step(
        self, images: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        replicas = self._strategy.num_replicas_in_sync
        scale = self._loss_scale.scale.value() if self._loss_scale else tf.constant(1.0)
        with tf.GradientTape() as tape:
            logits = self._model(images, training=True)  # (B, C) float32
            losses = cross_entropy(labels, logits, self._label_smoothing)  # (B,)
            # A replica's share of the global batch's mean, so that the sum over replicas is it.
            loss = tf.reduce_mean(losses) / replicas
            scaled = loss * scale
        gradients = tape.gradient(scaled, self._optimizer.variables)
        gradients = [gradient / scale for gradient in gradients]
        context = tf.distribute.get_replica_context()
        if replicas > 1:  # first the sum, then the norm: clipping is of the global gradient
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        if self._clip_norm:
            shrink = self._clip_norm / tf.maximum(norm, self._clip_norm)
            gradients = [gradient * shrink for gradient in gradients]
        if self._loss_scale:
            # A gradient that overflowed moves nothing; the scale is halved and the next is tried.
            tf.cond(
                finite,
                lambda: self._updated(gradients, learning_rate),
                lambda: tf.constant(False),
            )
            self._loss_scale.update(finite)
        else:
            self._optimizer.apply(gradients, learning_rate)
        correct = tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels)
        return {
            "loss": loss,
            "correct": tf.reduce_sum(tf.cast(correct, tf.int32)),
            "grad_norm": norm,
            "finite": tf.cast(finite, tf.float32),
        }

    def _updated(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> tf.Tensor:
        self._optimizer.apply(gradients, learning_rate)
        return tf.constant(True)
