import io
import json
import math
import os
import signal
import time
from pathlib import Path

import pytest
import tensorflow as tf
from rich.console import Console

from cait_finetune.config import CheckpointConfig, TrainConfig
from cait_finetune.errors import Interrupted, UserError
from cait_finetune.optim.length import Length
from cait_finetune.train.batches import Batches
from cait_finetune.train.interruption import Interruption
from cait_finetune.train.logbook import Logbook
from cait_finetune.train.loop import TRAINED, Stage, Trainer
from cait_finetune.train.profile import Profile
from cait_finetune.train.run_state import RunState
from cait_finetune.train.validation import Validation
from tests.cait_finetune.tiny import one_device


class FakeCheckpoints:
    """Record what the trainer saves, and where."""

    best, last = Path("best"), Path("last")

    def __init__(self):
        self.saved = []
        self.states = []

    def save(self, model, path, epoch):
        self.saved.append((str(path), epoch))

    def save_state(self, arrays, progress, step):
        self.states.append((step, progress))


class FakeStep:
    """Steps with losses from a list and half of the images correct. `SKIPPED` skips a step."""

    state: dict = {}

    def __init__(self, losses, batch_size):
        self.losses = losses
        self.batch_size = batch_size
        self.rates = []
        self.calls = []

    def __call__(self, images, labels, rates, first):
        self.calls.append((first, len(rates)))
        rows = []
        for rate in rates:
            loss = self.losses[len(self.rates) % len(self.losses)]
            self.rates.append(float(rate))
            skipped = loss is SKIPPED
            rows.append([0.0 if skipped else loss, self.batch_size // 2, float(len(self.rates)),
                         0.0 if skipped else 1.0])  # fmt: skip
        return tf.constant(rows, tf.float64)


class Slow:
    """A step that sleeps for `seconds` first."""

    state: dict = {}

    def __init__(self, step, seconds):
        self.step = step
        self.seconds = seconds

    def __call__(self, *args):
        time.sleep(self.seconds)
        return self.step(*args)


class FakeModel:
    weights: list = []


class Records:
    def __init__(self):
        self.lines = []

    def write(self, kind, **values):
        self.lines.append((kind, values))

    @property
    def size(self):
        return len(self.lines)


SKIPPED = object()
TIMES = {"images_per_second": 0, "data_wait_share": 0}


class Run:
    """Stubs of everything a `Trainer` needs, which record its calls."""

    def __init__(
        self, validations, losses=(1.0,), steps_per_epoch=3, batch_size=4, log_every=100,
        every_steps=None, state=None, weights=None, swa=None, agree=None, metric="top1", **train,
    ):  # fmt: skip
        self.validations = validations
        self.steps_per_epoch = steps_per_epoch
        self.step = FakeStep(list(losses), batch_size)
        self.checkpoints = FakeCheckpoints()
        self.records = Records()
        self.output = io.StringIO()
        self.state = state or RunState()
        self.stack = train.get("steps_per_execution", 1)
        self.weights = weights or {TRAINED: lambda: None}
        self.swa = swa
        self.agree = agree
        self.metric = metric
        values = {
            "epochs": len(validations), "batch_size": batch_size, "eval_batch_size": batch_size,
            "precision": "float32", "label_smoothing": 0.0, "clip_norm": 0.0,
            "log_every": log_every, "jit_compile": False, "accumulation": 1,
            "steps_per_execution": 1, "max_skipped_steps": 3, **train,
        }  # fmt: skip
        self.config = TrainConfig(**values)
        self.checkpoint = CheckpointConfig(every_steps, 2)
        self.validated = 0
        self.opened = []

    def stream(self, position):
        """Return elements with their end position; position 40 is the end of step 40."""
        self.opened.append(position)
        positions = tf.data.Dataset.range(position + 1, 10**6)
        if self.stack > 1:
            positions = positions.batch(self.stack)
        return positions.map(lambda p: (tf.zeros((2,)), tf.zeros((2,)), p))

    def validate(self):
        top1, loss = self.validations[self.validated]
        self.validated += 1
        return {"loss": loss, "top1": top1, "top5": 1.0, "mean_per_class": 1.0 - top1}

    on_epoch_end = ()

    def of_kind(self, wanted):
        return [values for kind, values in self.records.lines if kind == wanted]

    def stage(self, first=0, steps=None, name="full"):
        return Stage(
            name, first, steps or self.total, self.step, lambda number: 0.5 ** (number + 1), [],
            self.weights, self.swa, 0,
        )  # fmt: skip

    @property
    def total(self):
        return self.steps_per_epoch * self.config.epochs

    def __call__(self, stages=None):
        console = Console(file=self.output, width=200)
        logbook = Logbook(self.state, self.records, self.checkpoints, console, self.on_epoch_end)
        batches = Batches(self.stream(self.state.position), one_device(), self.stack)
        trainer = Trainer(
            FakeModel, batches, Length(self.total, self.steps_per_epoch), self.config,
            self.checkpoint, Validation(self.validate, self.metric), logbook, Profile(None), self.agree,
        )  # fmt: skip
        with Interruption() as interruption:
            interruption.directory = "some/run"
            return trainer.run(stages or [self.stage], interruption)


@pytest.mark.parametrize(
    ("validations", "best_epoch"),
    [
        ([(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)], 2),  # accuracy decides
        ([(0.5, 1.0), (0.5, 0.8), (0.5, 0.9)], 2),  # equal accuracy: the lower loss decides
        ([(0.5, 1.0), (0.5, 1.0)], 1),  # full tie: the first epoch
        ([(0.0, 3.0), (0.0, 4.0)], 1),  # an accuracy of 0 can be the best
        ([(0.9, 1.0)], 1),
    ],
)
def test_the_best_epoch_has_the_highest_score_then_the_lowest_loss(validations, best_epoch):
    run = Run(validations)
    state = run()
    assert state.best_epoch == best_epoch
    assert state.best_score[0] == validations[best_epoch - 1][0]
    assert [epoch for name, epoch in run.checkpoints.saved if name == "best"][-1] == best_epoch
    last = [epoch for name, epoch in run.checkpoints.saved if name == "last"]
    assert last == list(range(1, len(validations) + 1))


def test_a_function_sees_each_epoch_and_may_end_the_training():
    seen = []

    def on_epoch_end(figures):
        seen.append((figures["epoch"], figures["validation_top1"]))
        return figures["validation_top1"] > 0.6

    run = Run([(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)])
    run.on_epoch_end = (on_epoch_end, lambda figures: 17)  # a number ends nothing
    state = run()
    assert seen == [(1, 0.5), (2, 0.7)]
    assert (state.stopped, state.step) == ("callback", 2 * run.steps_per_epoch)


def test_the_sets_own_metric_decides():
    run = Run([(0.5, 1.0), (0.2, 2.0), (0.6, 0.1)], metric="mean_per_class")
    state = run()
    assert (state.best_epoch, state.best_score) == (2, (0.8, -2.0))
    assert "mean per class 80.00%, top-1 20.00%" in run.output.getvalue()


def test_a_validation_that_is_not_a_number_stops_the_run():
    run = Run([(0.5, 1.0), (0.9, math.nan), (0.4, 1.0)])
    with pytest.raises(UserError, match="validation loss of the trained weights is nan"):
        run()
    assert run.checkpoints.saved == [("best", 1), ("last", 1)]


def test_every_step_gets_its_rate():
    run = Run([(0.5, 1.0)] * 2)
    run()
    assert run.step.rates == [0.5 ** (number + 1) for number in range(6)]


def test_the_log_holds_step_and_epoch_records():
    losses = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    run = Run([(0.25, 1.5), (0.5, 1.25)], losses, log_every=2)
    run()
    steps = run.of_kind("step")
    # the first step, every second step, and the last step of each epoch
    assert [one["step"] for one in steps] == [1, 2, 3, 4, 6]
    assert [one["epoch"] for one in steps] == [1, 1, 1, 2, 2]
    assert [one["loss"] for one in steps] == [1.0, 2.0, 3.0, 4.0, 5.5]
    assert [one["learning_rate"] for one in steps] == [0.5**n for n in (1, 2, 3, 4, 6)]
    assert [one["accuracy"] for one in steps] == [0.5] * 5
    assert [one["grad_norm"] for one in steps] == [1.0, 2.0, 3.0, 4.0, 6.0]
    assert [one["skipped_steps"] for one in steps] == [0] * 5
    assert all(one["images_per_second"] > 0 for one in steps)
    epochs = run.of_kind("epoch")
    assert epochs == [
        {"epoch": 1, "step": 3, "train_loss": 2.0, "train_accuracy": 0.5, "validation_loss": 1.5,
         "validation_top1": 0.25, "validation_top5": 1.0, "validation_mean_per_class": 0.75},
        {"epoch": 2, "step": 6, "train_loss": 5.0, "train_accuracy": 0.5, "validation_loss": 1.25,
         "validation_top1": 0.5, "validation_top5": 1.0, "validation_mean_per_class": 0.5},
    ]  # fmt: skip
    assert "epoch 2/2  train loss 5.0000  accuracy 50.00%" in run.output.getvalue()


@pytest.mark.parametrize("epochs", [1, 3])
def test_images_per_second_is_positive(epochs):
    speed = Run([(0.5, 1.0)] * epochs, log_every=1)().images_per_second()
    assert 0 < speed < math.inf


@pytest.mark.slow
def test_the_first_steps_which_trace_do_not_count_as_speed():
    run = Run([(0.5, 1.0)] * 2, steps_per_epoch=1)
    quick = run.step

    class SlowFirst:
        state: dict = {}

        def __call__(self, *args):
            if not quick.rates:
                time.sleep(1.0)
            return quick(*args)

    run.step = SlowFirst()
    assert run().images_per_second() > 8  # with the slow first step: at most 8 images per second


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "waits"), [(0.0, False), (0.1, True)])
def test_a_slow_input_pipeline_is_reported_once(seconds, waits):
    run = Run([(0.5, 1.0)] * 3, log_every=1)
    quick = run.stream

    def stream(position):
        for element in quick(position):
            time.sleep(seconds)
            yield element

    run.stream, run.step = stream, Slow(run.step, 0.05)
    state = run()
    said = "of the training time is spent waiting for images: dataset.cache=memory"
    assert run.output.getvalue().count(said) == int(waits)
    assert (state.data_wait_share() > 0.2) == waits
    shares = [one["data_wait_share"] for one in run.of_kind("step")]
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_run(bad, log_every):
    run = Run([(0.5, 1.0)] * 3, [1.0, 1.0, 1.0, 1.0, bad, 1.0], log_every=log_every)
    with pytest.raises(UserError, match=r"optimizer\.base_lr: got .* at step \d") as error:
        run()
    assert run.checkpoints.saved == [("best", 1), ("last", 1)]  # from the finished epoch
    assert "checkpoints are kept" in str(error.value)
    assert len(run.of_kind("epoch")) == 1


def test_data_that_must_stop_the_run_stops_it_at_once():
    run = Run([(0.5, 1.0)] * 2)
    whole = run.stream

    def broken_off(position):
        yield from whole(position).take(2)
        raise UserError("dataset: a broken image")

    run.stream = broken_off
    with pytest.raises(UserError, match="a broken image"):
        run()
    assert len(run.step.rates) == 2
    assert run.checkpoints.saved == []
    assert run.validated == 0


def test_a_stream_that_ends_is_an_error_not_a_short_epoch():
    run = Run([(0.5, 1.0)])
    whole = run.stream
    run.stream = lambda position: whole(position).take(2)
    with pytest.raises(UserError, match="dataset: got no further training image"):
        run()
    assert run.checkpoints.saved == []


def test_a_state_at_each_epochs_end_and_between():
    run = Run([(0.5, 1.0)] * 2, steps_per_epoch=5, every_steps=2)
    run()
    assert [step for step, _ in run.checkpoints.states] == [2, 4, 5, 6, 8, 10]
    assert [one["position"] for _, one in run.checkpoints.states] == [2, 4, 5, 6, 8, 10]


def without_time(progress):
    progress = {key: value for key, value in progress.items() if "seconds" not in key}
    return {key: value for key, value in progress.items() if key != "timed_images"}


@pytest.mark.parametrize("step", [2, 4, 5, 6, 8])
def test_resuming_from_any_state_repeats_the_rest_of_the_run(step):
    losses = [1.0, 1.3, SKIPPED, 0.7, 0.9, 1.1, 0.2, SKIPPED, 0.4, 0.6]
    validations = [(0.5, 1.0), (0.4, 0.9)]
    options = {"steps_per_epoch": 5, "every_steps": 2, "log_every": 3}
    whole = Run(validations, losses, **options)
    whole()
    states = dict(whole.checkpoints.states)

    state = RunState.from_dict(json.loads(json.dumps(states[step])))
    rest = Run(validations, losses, state=state, **options)
    rest.step.rates = [None] * step  # the first `step` losses are used
    rest.validated = step // 5
    rest()
    assert rest.opened == [step]
    assert without_time(rest.checkpoints.states[-1][1]) == {
        **without_time(whole.checkpoints.states[-1][1]),
        "log_bytes": len(rest.records.lines),  # the log of this stub starts empty
    }
    assert [{**one, **TIMES} for _, one in rest.records.lines] == [
        {**one, **TIMES} for _, one in whole.records.lines[states[step]["log_bytes"] :]
    ]


def test_several_steps_in_a_call_are_the_same_steps():
    options = {"steps_per_epoch": 5, "every_steps": 4, "log_every": 3}
    one, many = (
        Run([(0.5, 1.0)] * 2, [1.0, 2.0, 3.0], steps_per_execution=steps, **options)
        for steps in (1, 3)
    )
    one()
    many()
    assert many.step.rates == one.step.rates
    assert many.of_kind("epoch") == one.of_kind("epoch")
    assert [without_time(a) for _, a in many.checkpoints.states] == [
        without_time(b) for _, b in one.checkpoints.states
    ]
    # A call never crosses the end of a stack, a log line, an epoch or a state.
    assert many.step.calls == [(0, 1), (1, 2), (0, 1), (1, 1), (2, 1), (0, 2), (2, 1), (0, 1)]


def test_skipped_steps_count_for_nothing():
    run = Run([(0.5, 1.0)], [1.0, SKIPPED, 2.0])
    state = run()
    assert (state.skipped, state.skipped_in_row) == (1, 0)
    assert run.of_kind("epoch")[0]["train_loss"] == 1.5
    assert run.of_kind("step")[-1]["skipped_steps"] == 1


@pytest.mark.parametrize("log_every", [1, 4, 8])
def test_many_skipped_in_a_row_stop_the_run(log_every):
    losses = [1.0, SKIPPED, SKIPPED, 1.0, SKIPPED, SKIPPED, SKIPPED, 1.0]
    run = Run([(0.5, 1.0)], losses, steps_per_epoch=8, log_every=log_every, max_skipped_steps=3)
    with pytest.raises(UserError, match=r"train\.precision: got 3 steps in a row") as error:
        run()
    assert "train.max_skipped_steps=3" in str(error.value)
    assert "mixed_bfloat16" in str(error.value)


def test_patience_ends_training_after_epochs_without_a_better_one():
    run = Run([(0.5, 1.0), (0.6, 1.0), (0.6, 1.1), (0.1, 1.0), (0.9, 1.0)], patience=2)
    state = run()
    assert state.stopped == "train.patience"
    assert state.step == 4 * 3
    assert state.best_epoch == 2
    assert run.checkpoints.states[-1][0] == 12


def test_patience_judges_each_phase_by_itself():
    """Unfreezing lowers the accuracy at first, which must not end the run."""
    run = Run([(0.8, 1.0), (0.5, 1.0), (0.6, 1.0), (0.9, 1.0), (0.7, 1.0), (0.7, 1.0)], patience=1)
    state = run([lambda: run.stage(0, 3, "head"), lambda: run.stage(3, 15, "full")])
    assert (state.stopped, state.step) == ("train.patience", 5 * 3)
    assert (state.best_epoch, state.best_score[0]) == (4, 0.9)


def test_stages_after_a_limit_are_not_built():
    run = Run([(0.5, 1.0)] * 3, patience=1)
    built = []

    def stage(first):
        built.append(first)
        return run.stage(first, 6 if not first else 3)

    run.validations = [(0.5, 1.0), (0.4, 1.0), (0.4, 1.0)]
    state = run([lambda: stage(0), lambda: stage(6)])
    assert state.stopped == "train.patience"
    assert built == [0]


def test_a_time_limit_ends_with_a_validation_and_a_state():
    run = Run([(0.5, 1.0)] * 3, max_hours=0.4 / 3600)
    run.step = Slow(run.step, 0.1)
    state = run()
    assert state.stopped == "train.max_hours"
    assert 3 <= state.step < 9
    assert run.of_kind("epoch")[-1]["validation_top1"] == 0.5
    assert run.checkpoints.states[-1][0] == state.step
    assert ("best", 1) in run.checkpoints.saved


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends(number, code):
    run = Run([(0.5, 1.0)] * 3, log_every=1000)
    quick = run.step

    class Signalled:
        state: dict = {}

        def __call__(self, *args):
            if len(quick.rates) == 4:
                os.kill(os.getpid(), number)
            return quick(*args)

    run.step = Signalled()
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="resume=some/run") as stopped:
        run()
    assert stopped.value.code == code
    assert [step for step, _ in run.checkpoints.states] == [3, 5]
    assert len(run.checkpoints.states[-1][1]["window"]) == 2  # steps that are not logged yet
    assert signal.getsignal(number) is before


def test_workers_stop_together_at_the_steps_where_they_ask():
    asked = []

    def agree(wishes):
        asked.append(run.state.step)
        return [False, run.state.step >= 4]

    run = Run([(0.5, 1.0)] * 3, log_every=2, agree=agree)
    with pytest.raises(Interrupted, match="another worker") as stopped:
        run()
    assert stopped.value.code == 75
    assert asked == [2, 3, 4]
    assert run.checkpoints.states[-1][0] == 4


def test_the_last_version_of_the_weights_decides():
    validations = [(0.9, 1.0), (0.2, 1.0), (0.1, 1.0), (0.3, 1.0)]
    run = Run(validations, weights={TRAINED: lambda: None, "ema": lambda: []})
    run.config.epochs = 2
    state = run()
    assert (state.best_epoch, state.best_score[0]) == (2, 0.3)
    first = run.of_kind("epoch")[0]
    assert (first["validation_top1"], first["validation_ema_top1"]) == (0.9, 0.2)


def test_swa_takes_in_the_end_of_each_epoch():
    class Swa:
        added = 0

        def add(self):
            self.added += 1

    swa = Swa()
    run = Run(
        [(0.5, 1.0), (0.4, 1.0), (0.6, 1.0), (0.4, 1.0)],
        swa=swa,
        weights={TRAINED: lambda: None, "swa": lambda: [] if swa.added > 1 else None},
        epochs=2,
    )
    run()
    assert swa.added == 2
    first, second = run.of_kind("epoch")
    assert "validation_swa_top1" not in first
    assert second["validation_swa_top1"] == 0.6


def test_stages_follow_each_other_each_with_a_schedule_of_its_own():
    run = Run([(0.5, 1.0)] * 3)
    built = []

    def stage(first, steps):
        def build():
            built.append(run.state.step)
            return run.stage(first, steps)

        return build

    run([stage(0, 3), stage(3, 6)])
    assert built == [0, 3]
    assert run.step.rates == [0.5**n for n in (1, 2, 3, 1, 2, 3, 4, 5, 6)]
