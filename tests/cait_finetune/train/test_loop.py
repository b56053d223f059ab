import io
import math
import time
from pathlib import Path

import pytest
import tensorflow as tf
from rich.console import Console

from cait_finetune.config import TrainConfig
from cait_finetune.errors import UserError
from cait_finetune.train.loop import train


class FakeCheckpoints:
    """Notes what is saved where."""

    best, last = Path("best"), Path("last")

    def __init__(self):
        self.saved = []

    def save(self, model, path, epoch):
        self.saved.append((str(path), epoch))


class FakeStep:
    """A step whose loss is the next of a list, with half of the images correct."""

    def __init__(self, losses, batch_size):
        self.losses = losses
        self.batch_size = batch_size
        self.rates = []

    def __call__(self, images, labels, rate):
        assert images.shape[0] == labels.shape[0] == self.batch_size
        loss = self.losses[len(self.rates) % len(self.losses)]
        self.rates.append(float(rate))
        return {
            "loss": tf.constant(loss),
            "correct": tf.constant(self.batch_size // 2),
            "grad_norm": tf.constant(float(len(self.rates))),
            "finite": tf.constant(0.0 if len(self.rates) == 2 else 1.0),
        }


class Run:
    """Everything `train` needs, and what it did with it."""

    def __init__(self, validations, losses=(1.0,), steps_per_epoch=3, batch_size=4, log_every=100):
        self.validations = validations
        self.steps_per_epoch = steps_per_epoch
        self.step = FakeStep(list(losses), batch_size)
        self.checkpoints = FakeCheckpoints()
        self.records = []
        self.output = io.StringIO()
        self.batches = tf.data.Dataset.from_tensors(
            (tf.zeros((batch_size, 2)), tf.zeros((batch_size,), tf.int64))
        ).repeat()
        self.config = TrainConfig(
            epochs=len(validations),
            batch_size=batch_size,
            eval_batch_size=batch_size,
            precision="float32",
            label_smoothing=0.0,
            clip_norm=0.0,
            log_every=log_every,
        )
        self.validated = 0

    def validate(self):
        top1, loss = self.validations[self.validated]
        self.validated += 1
        return {"loss": loss, "top1": top1, "top5": 1.0}

    def log(self, kind, **values):
        self.records.append((kind, values))

    def of_kind(self, wanted):
        return [values for kind, values in self.records if kind == wanted]

    def __call__(self):
        return train(
            None,
            self.step,
            self.batches,
            lambda number: 0.5 ** (number + 1),
            self.steps_per_epoch,
            self.config,
            self.validate,
            self.checkpoints,
            self.log,
            Console(file=self.output, width=200),
        )


@pytest.mark.parametrize(
    ("validations", "best_epoch"),
    [
        ([(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)], 2),  # accuracy decides
        ([(0.5, 1.0), (0.5, 0.8), (0.5, 0.9)], 2),  # among equals the lower loss
        ([(0.5, 1.0), (0.5, 1.0)], 1),  # full ties: the first
        ([(0.0, 3.0), (0.0, 4.0)], 1),  # an accuracy of 0 is a best too
        ([(0.9, 1.0)], 1),
    ],
)
def test_the_best_epoch(validations, best_epoch):
    run = Run(validations)
    training = run()
    assert training.best_epoch == best_epoch
    assert training.best_top1 == validations[best_epoch - 1][0]
    assert [epoch for name, epoch in run.checkpoints.saved if name == "best"][-1] == best_epoch
    last = [epoch for name, epoch in run.checkpoints.saved if name == "last"]
    assert last == list(range(1, len(validations) + 1))


def test_a_validation_that_is_not_a_number_stops_the_run():
    run = Run([(0.5, 1.0), (0.9, math.nan), (0.4, 1.0)])
    with pytest.raises(UserError, match="validation loss is nan"):
        run()
    assert run.checkpoints.saved == [("last", 1), ("best", 1)]


def test_every_step_gets_its_rate():
    run = Run([(0.5, 1.0)] * 2)
    run()
    assert run.step.rates == [0.5 ** (number + 1) for number in range(6)]


def test_the_log():
    losses = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    run = Run([(0.25, 1.5), (0.5, 1.25)], losses, log_every=2)
    run()
    steps = run.of_kind("step")
    # the first, every second, and the last of each epoch
    assert [one["step"] for one in steps] == [1, 2, 3, 4, 6]
    assert [one["epoch"] for one in steps] == [1, 1, 1, 2, 2]
    assert [one["loss"] for one in steps] == [1.0, 2.0, 3.0, 4.0, 5.5]
    assert [one["learning_rate"] for one in steps] == [0.5**n for n in (1, 2, 3, 4, 6)]
    assert [one["accuracy"] for one in steps] == [0.5] * 5
    assert [one["grad_norm"] for one in steps] == [1.0, 2.0, 3.0, 4.0, 6.0]
    assert [one["skipped_steps"] for one in steps] == [0, 1, 0, 0, 0]
    assert all(one["images_per_second"] > 0 for one in steps)
    epochs = run.of_kind("epoch")
    assert epochs == [
        {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.5, "validation_loss": 1.5,
         "validation_top1": 0.25, "validation_top5": 1.0},
        {"epoch": 2, "train_loss": 5.0, "train_accuracy": 0.5, "validation_loss": 1.25,
         "validation_top1": 0.5, "validation_top5": 1.0},
    ]  # fmt: skip
    assert "epoch 2/2  train loss 5.0000  accuracy 50.00%" in run.output.getvalue()


@pytest.mark.parametrize("epochs", [1, 3])
def test_images_per_second_is_positive(epochs):
    speed = Run([(0.5, 1.0)] * epochs)().images_per_second
    assert 0 < speed < math.inf


def test_the_first_epoch_which_traces_does_not_count_as_speed():
    run = Run([(0.5, 1.0)] * 2, steps_per_epoch=1)
    quick = run.step

    def slow_first(*args):
        if not quick.rates:
            time.sleep(1.0)
        return quick(*args)

    run.step = slow_first
    assert run().images_per_second > 8  # with the first epoch: at most 8 images in a second


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_run(bad, log_every):
    run = Run([(0.5, 1.0)] * 3, [1.0, 1.0, 1.0, 1.0, bad, 1.0], log_every=log_every)
    with pytest.raises(UserError, match=r"optimizer\.base_lr: got .* at step \d") as error:
        run()
    assert run.checkpoints.saved == [("last", 1), ("best", 1)]  # the finished epoch's are kept
    assert "checkpoints are kept" in str(error.value)
    assert len(run.of_kind("epoch")) == 1


def test_data_that_must_stop_the_run_stops_it_at_once():
    run = Run([(0.5, 1.0)] * 2)

    def broken_off(batches):
        yield from batches.take(2)
        raise UserError("dataset: a broken image")

    run.batches = broken_off(run.batches)
    with pytest.raises(UserError, match="a broken image"):
        run()
    assert len(run.step.rates) == 2
    assert run.checkpoints.saved == []
    assert run.validated == 0


def test_a_stream_that_ends_is_an_error_not_a_short_epoch():
    run = Run([(0.5, 1.0)])
    run.batches = run.batches.take(2)
    with pytest.raises(UserError, match="dataset: got no training image"):
        run()
    assert run.checkpoints.saved == []
