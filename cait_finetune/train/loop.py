"""The training loop: epochs of steps, a validation after each, the best and the last kept."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator

import keras
import tensorflow as tf
from rich.console import Console

from cait_finetune.config import TrainConfig
from cait_finetune.errors import bad_value
from cait_finetune.train.checkpoint import Checkpoints
from cait_finetune.train.progress import training_progress
from cait_finetune.train.step import TrainStep


@dataclasses.dataclass(frozen=True)
class Training:
    """What a finished training is summarised by."""

    best_epoch: int
    best_top1: float
    images_per_second: float


def train(
    model: keras.Model,
    step: TrainStep,
    batches: Iterable[tuple[tf.Tensor, tf.Tensor]],
    schedule: Callable[[int], float],
    steps_per_epoch: int,
    config: TrainConfig,
    validate: Callable[[], dict[str, float]],
    checkpoints: Checkpoints,
    log: Callable[..., None],
    console: Console,
) -> Training:
    """Run every epoch.

    Args:
        batches: an endless stream of ``(images, labels)``.
        schedule: learning rate of a step, counted from 0.
        validate: figures of the validation split; ``top1`` decides which epoch is best, and among
            equals the lower ``loss``.
        log: called as ``log("step", …)`` every `log_every` steps and ``log("epoch", …)`` once each.

    Raises:
        UserError: the loss is no longer finite, or a checkpoint cannot be written.
    """
    stream = iter(batches)
    best, best_epoch = (-1.0, -math.inf), 0
    training_seconds = 0.0
    with training_progress(console) as progress:
        bar = progress.add_task("", total=steps_per_epoch * config.epochs, epoch="1", figures="")
        for epoch in range(1, config.epochs + 1):
            sums = _Sums(config.batch_size)
            started = time.perf_counter()
            for position in range(steps_per_epoch):
                number = (epoch - 1) * steps_per_epoch + position
                rate = schedule(number)
                images, labels = _next(stream)
                sums.add(step(images, labels, tf.constant(rate)))
                last = position == steps_per_epoch - 1
                if (number + 1) % config.log_every == 0 or last or number == 0:
                    figures = sums.read(number, rate)
                    log("step", step=number + 1, epoch=epoch, learning_rate=rate, **figures)
                    text = (
                        f"loss {figures['loss']:.3f}  acc {figures['accuracy']:.1%}  "
                        f"lr {rate:.1e}  {figures['images_per_second']:.0f} img/s"
                    )
                    progress.update(bar, epoch=f"{epoch}/{config.epochs}", figures=text)
                progress.advance(bar)
            if epoch > 1 or config.epochs == 1:  # the first epoch also traces the graph
                training_seconds += time.perf_counter() - started
            figures = validate()
            _refuse_non_finite(figures["loss"], "validation loss", number, rate)
            log("epoch", epoch=epoch, train_loss=sums.mean_loss, train_accuracy=sums.mean_accuracy,
                **{f"validation_{key}": value for key, value in figures.items()})  # fmt: skip
            console.print(
                f"epoch {epoch:>{len(str(config.epochs))}}/{config.epochs}  "
                f"train loss {sums.mean_loss:.4f}  accuracy {sums.mean_accuracy:.2%}  "
                f"validation loss {figures['loss']:.4f}  top-1 {figures['top1']:.2%}",
                highlight=False,
            )
            checkpoints.save(model, checkpoints.last, epoch)
            if (figures["top1"], -figures["loss"]) > best:
                best, best_epoch = (figures["top1"], -figures["loss"]), epoch
                checkpoints.save(model, checkpoints.best, epoch)
    timed_epochs = max(1, config.epochs - 1)
    images_seen = timed_epochs * steps_per_epoch * config.batch_size
    return Training(best_epoch, best[0], images_seen / training_seconds)


def _next(stream: Iterator) -> tuple[tf.Tensor, tf.Tensor]:
    try:
        return next(stream)
    except StopIteration:
        raise bad_value("dataset", "no training image any more", "an endless stream") from None


def _refuse_non_finite(loss: float, name: str, number: int, rate: float) -> None:
    if not math.isfinite(loss):
        raise bad_value(
            "optimizer.base_lr",
            f"{rate:g} at step {number + 1}, where the {name} is {loss}",
            "a finite one",
            "lower optimizer.base_lr, lengthen schedule.warmup_epochs, or set "
            "train.precision=float32; finished checkpoints are kept",
        )


class _Sums:
    """Running sums of an epoch, on the device: reading them waits for the step, so it is rare."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._window: list[dict[str, tf.Tensor]] = []
        self._since = time.perf_counter()
        self._loss = self._correct = 0.0
        self._steps = 0

    def add(self, figures: dict[str, tf.Tensor]) -> None:
        self._window.append(figures)

    def read(self, number: int, rate: float) -> dict[str, float]:
        """The means since the last reading; adds them to the epoch's."""
        steps = len(self._window)
        losses = [float(figures["loss"]) for figures in self._window]
        correct = sum(int(figures["correct"]) for figures in self._window)
        skipped = sum(float(figures["finite"]) < 1 for figures in self._window)
        loss = sum(losses) / steps
        _refuse_non_finite(loss, "loss", number, rate)
        seconds = time.perf_counter() - self._since
        grad_norm = float(self._window[-1]["grad_norm"])
        self._loss += sum(losses)
        self._correct += correct
        self._steps += steps
        self._window, self._since = [], time.perf_counter()
        return {
            "loss": loss,
            "accuracy": correct / (steps * self._batch_size),
            "grad_norm": grad_norm,
            "skipped_steps": skipped,
            "images_per_second": steps * self._batch_size / seconds,
        }

    @property
    def mean_loss(self) -> float:
        return self._loss / self._steps

    @property
    def mean_accuracy(self) -> float:
        return self._correct / (self._steps * self._batch_size)
