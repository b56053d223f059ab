"""The training loop: steps, a validation after each epoch, and states to resume from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.config import CheckpointConfig, TrainConfig
from cait_finetune.config.metrics import METRIC_NAMES, format_value
from cait_finetune.errors import bad_value
from cait_finetune.optim.length import Length
from cait_finetune.runtime.progress import training_progress
from cait_finetune.train.average import MovingAverage, holding
from cait_finetune.train.batches import Batches
from cait_finetune.train.clock import Clock
from cait_finetune.train.interruption import Interruption
from cait_finetune.train.logbook import Logbook
from cait_finetune.train.profile import Profile
from cait_finetune.train.run_state import NO_SCORE, RunState
from cait_finetune.train.step import TrainStep
from cait_finetune.train.validation import Validation

#: The version of the weights that the model holds while training.
TRAINED = "trained"
_LONG_WAIT = 0.2  # fraction of the training time
_CALMER = (
    "start a new run with a lower optimizer.base_lr, a longer schedule.warmup_epochs, or "
    "train.clip_norm=1"
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Part of a run with one parameter table.

    Attributes:
        schedule: learning rate of a step, counted from 0 at the first step of the stage.
        variables: the trained variables.
        weights: the versions of the trained variables to validate, by name. Each function returns
            the values of its version. `None` under ``trained``: the values that the model holds.
            `None` under another name: the version does not exist yet. The last existing version
            decides which epoch is best.
        swa: averages the weights at the end of each epoch. `None`: no such average.
        swa_from: step of the run from which `swa` averages.
    """

    name: str
    first_step: int
    steps: int
    step: TrainStep
    schedule: Callable[[int], float]
    variables: list[tf.Variable]
    weights: Mapping[str, Callable[[], list[tf.Tensor] | None]]
    swa: MovingAverage | None = None
    swa_from: int = 0

    @property
    def end(self) -> int:
        """The first step after the stage."""
        return self.first_step + self.steps


def everything(model: keras.Model, step: TrainStep) -> dict[str, tf.Variable]:
    """Return all variables of the model and of the training step, by name."""
    weights = {f"model/{variable.path}": variable.value for variable in model.weights}
    return weights | {f"train/{name}": variable for name, variable in step.state.items()}


def restore(model: keras.Model, step: TrainStep | None, arrays: Mapping[str, np.ndarray]) -> None:
    """Assign the saved arrays to the variables of the model and of the step.

    Args:
        step: `None`: restore the model only.

    Raises:
        UserError: an array is missing or has another shape, so the arrays belong to another run.
    """
    variables = (
        everything(model, step)
        if step
        else {f"model/{variable.path}": variable.value for variable in model.weights}
    )
    for name, variable in variables.items():
        if name not in arrays or arrays[name].shape != tuple(variable.shape):
            got = arrays[name].shape if name in arrays else "nothing"
            raise bad_value("resume", f"a state with {got} for {name}", str(tuple(variable.shape)))
        variable.assign(arrays[name])


class Trainer:
    """Trains a run from its current state to its end.

    Args:
        batches: the endless training stream, from ``logbook.state.position`` on.
        length: steps per epoch, and steps of the whole run.
        agree: combines the answers of all workers: a result is true if any worker answered true.
            All workers call it at the same steps. `None`: there is one worker.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: Batches,
        length: Length,
        train: TrainConfig,
        checkpoint: CheckpointConfig,
        validation: Validation,
        logbook: Logbook,
        profile: Profile,
        agree: Callable[[list[bool]], list[bool]] | None = None,
    ) -> None:
        self.state = logbook.state
        self._logbook = logbook
        self._model = model
        self._batches = batches
        self._steps_per_epoch = length.steps_per_epoch
        self._total_steps = length.total_steps
        self._train = train
        self._checkpoint = checkpoint
        self._validation = validation
        self._checkpoints = logbook.checkpoints
        self._metrics = logbook.metrics
        self._console = logbook.console
        self._profile = profile
        self._agree = agree
        self._said_wait = False
        self._pending: list[tf.Tensor] = []
        self._rate = math.nan
        self._clock = Clock(self.state, train.steps_per_execution > 1)

    def run(self, stages: Iterable[Callable[[], Stage]], interruption: Interruption) -> RunState:
        """Train to the end of the last stage, or until a limit or a signal stops the run.

        Args:
            stages: functions that build the unfinished stages, in order. The first stage may be
                half done.
            interruption: records a signal that asks the process to end.

        Returns:
            The state at the end.

        Raises:
            UserError: many consecutive steps had no finite gradient, or a loss is not finite.
            OSError: a checkpoint cannot be written.
            Interrupted: a signal came; the state is saved.
        """
        state = self.state
        epochs = math.ceil(self._total_steps / self._steps_per_epoch)
        with training_progress(self._console) as progress, interruption.deferred():
            bar = progress.add_task("", total=self._total_steps, completed=state.step,
                                    epoch=f"{self._epoch}/{epochs}", metrics="")  # fmt: skip
            for build in stages:
                if state.stopped:  # do not build the remaining stages
                    break
                stage = build()
                if state.step == stage.first_step:
                    state.begin_phase()
                self._clock.start(traces=True)
                while state.step < stage.end and not state.stopped:
                    progress.advance(bar, self._execute(stage))
                    if self._at(self._train.log_every) or state.step == 1 or self._epoch_ends:
                        metrics = self._log_steps()
                        progress.update(bar, epoch=f"{self._epoch}/{epochs}", metrics=metrics)
                    stop, interrupt = self._wishes(interruption)
                    if stop and not state.stopped:
                        state.stopped = "train.max_hours"
                    if self._epoch_ends or state.stopped:
                        self._end_epoch(stage, epochs)
                    if state.step == stage.end:
                        self._settle(stage)
                    if (
                        self._at(self._checkpoint.every_steps)
                        or self._epoch_ends
                        or state.stopped
                        or interrupt
                    ):
                        self._save(stage)
                    if interrupt:
                        raise interruption.error()
            self._profile.stop()
        return state

    @property
    def _epoch(self) -> int:
        """Epoch of the last finished step, counted from 1."""
        return max(1, math.ceil(self.state.step / self._steps_per_epoch))

    @property
    def _epoch_ends(self) -> bool:
        return self._at(self._steps_per_epoch) or self.state.step == self._total_steps

    def _at(self, every: int | None) -> bool:
        return bool(every) and self.state.step % every == 0

    def _execute(self, stage: Stage) -> int:
        """Call the step function once; return the number of steps that it made."""
        state = self.state
        # Stop at the next step after which the loop logs, saves, or ends an epoch or stage.
        wanted = [stage.end - state.step if state.step else 1]
        for every in (self._steps_per_epoch, self._train.log_every, self._checkpoint.every_steps):
            wanted += [every - state.step % every] if every else []
        with self._clock.waiting():
            images, labels, first, steps = self._batches.take(min(wanted))
        done = state.step - stage.first_step
        rates = [stage.schedule(done + number) for number in range(steps)]
        with self._profile.step(state.step):
            self._pending.append(stage.step(images, labels, tf.constant(rates), first))
        self._rate = rates[-1]
        self._clock.images += steps * self._train.batch_size
        state.step += steps
        return steps

    def _fetch(self) -> None:
        """Wait for the pending steps, and add their metrics to the state.

        The loop fetches rarely, because fetching empties the device's queue.
        """
        if not self._pending:
            return
        # Check the longest series, so that the check does not depend on when the loop fetches.
        skipped = self.state.add(np.concatenate([metrics.numpy() for metrics in self._pending]))
        self._pending = []
        if skipped >= self._train.max_skipped_steps:
            raise bad_value(
                "train.precision",
                f"{skipped} steps in a row without a finite gradient, seen at step "
                f"{self.state.step}",
                f"fewer than train.max_skipped_steps={self._train.max_skipped_steps}",
                f"{_CALMER}; or a new run with train.precision=mixed_bfloat16; finished checkpoints are "
                "kept",
            )

    def _log_steps(self) -> str:
        """Write the metrics since the last call; return the text for the progress bar."""
        self._fetch()
        if not self.state.window:
            return ""
        beside = self._validation.train_metric
        metrics = self.state.close_window(self._train.batch_size, beside)
        if not metrics["skipped_steps"]:
            self._refuse_non_finite(metrics["loss"], "loss")
        speed, waited = self._clock.lap()
        self._metrics.write("step", step=self.state.step, epoch=self._epoch,
                            learning_rate=self._rate, **metrics, images_per_second=speed,
                            data_wait_share=waited)  # fmt: skip
        return (
            f"loss {metrics['loss']:.3f}  {_brief(beside, metrics[beside])}  "
            f"lr {self._rate:.1e}  {speed:.0f} img/s"
        )

    def _end_epoch(self, stage: Stage, epochs: int) -> None:
        """Validate every version of the weights, and save the last and the best weights."""
        state, epoch = self.state, self._epoch
        self._fetch()
        if stage.swa and state.step >= stage.swa_from:
            stage.swa.add()
        beside = self._validation.train_metric
        record = state.close_epoch(self._train.batch_size, beside)
        text = f"train loss {record['train_loss']:.4f}  {METRIC_NAMES.get(beside, beside)} "
        text += format_value(beside, record[f"train_{beside}"])
        versions = {name: values() for name, values in stage.weights.items()}
        present = [
            name for name, values in versions.items() if values is not None or name == TRAINED
        ]
        state.epochs_without_better += 1
        for name in present:
            with holding(stage.variables, versions[name]):
                metrics = self._validation.measure()
                self._refuse_non_finite(metrics["loss"], f"validation loss of the {name} weights")
                prefix = "validation" if name == TRAINED else f"validation_{name}"
                record |= {f"{prefix}_{key}": value for key, value in metrics.items()}
                shown = "validation" if name == TRAINED else name
                text += (
                    f"  {shown} loss {metrics['loss']:.4f}  {self._validation.describe(metrics)}"
                )
                score = self._validation.score(metrics)
                if name != present[-1]:
                    continue
                # This version decides from now on. Scores of another version are not comparable.
                if name != state.best_of and len(present) > 1:
                    state.best_score = state.phase_score = NO_SCORE
                if score > state.phase_score:
                    state.phase_score, state.epochs_without_better = score, 0
                if score > state.best_score:
                    state.best_score, state.best_epoch, state.best_of = score, epoch, name
                    best = self._checkpoints.best
                    state.best_sha256 = self._checkpoints.save(self._model, best, epoch)
                self._checkpoints.save(self._model, self._checkpoints.last, epoch)
        width = len(str(epochs))
        self._console.print(f"epoch {epoch:>{width}}/{epochs}  {text}", highlight=False)
        self._logbook.end_epoch(epoch=epoch, step=state.step, **record)
        self._say_what_is_waited_for()
        patience = self._train.patience
        if patience and state.epochs_without_better >= patience and not state.stopped:
            state.stopped = "train.patience"
        self._clock.start()

    def _say_what_is_waited_for(self) -> None:
        """Print a line, once per process, if training spends much of its time waiting for data."""
        share = self.state.data_wait_share() or 0.0
        if share > _LONG_WAIT and not self._said_wait:
            self._said_wait = True
            self._console.print(
                f"data   {share:.0%} of the training time is spent waiting for images: dataset.cache="
                "memory, a lighter augment, or more CPU cores would make it faster",
                highlight=False,
            )

    def _settle(self, stage: Stage) -> None:
        """Assign the evaluated values to the variables when a stage ends.

        The next stage starts from the evaluated values.
        """
        values = stage.weights[TRAINED]()
        for variable, value in zip(stage.variables, values or (), strict=values is not None):
            variable.assign(value)

    def _save(self, stage: Stage) -> None:
        """Save everything that the rest of the run depends on."""
        self._fetch()
        state = self.state
        state.position = self._batches.position()
        state.log_bytes = self._metrics.size
        self._clock.read()
        self._checkpoints.save_state(
            {
                name: np.asarray(tf.identity(variable))
                for name, variable in everything(self._model, stage.step).items()
            },
            state.as_dict(),
            state.step,
        )

    def _wishes(self, interruption: Interruption) -> tuple[bool, bool]:
        """Return whether time is up and whether a signal came. All workers get the same answers."""
        limit = self._train.max_hours
        wishes = [bool(limit) and self._clock.read() >= limit * 3600,
                  interruption.signal is not None]  # fmt: skip
        if self._agree is None:
            return tuple(wishes)
        # Asking costs a round trip, and all workers must ask at the same step.
        if self._at(self._train.log_every) or self._epoch_ends:
            return tuple(self._agree(wishes))
        return False, False

    def _refuse_non_finite(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            raise bad_value(
                "optimizer.base_lr",
                f"{self._rate:g} at step {self.state.step}, where the {name} is {loss}",
                "a finite loss",
                f"{_CALMER}; or a new run with train.precision=float32; finished checkpoints are kept",
            )


def _brief(metric: str, value: float) -> str:
    """Return a training metric for the progress bar: ``acc 98.1%`` or ``mae 3.21``."""
    return f"acc {value:.1%}" if metric == "accuracy" else f"{metric} {value:.3g}"
