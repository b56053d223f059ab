"""The progress of a run, without tensors. A state file holds it as JSON without loss."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from cait_finetune.train.step import STEP_METRICS

_LOSS, _CORRECT, _NORM, _FINITE = (STEP_METRICS.index(name) for name in STEP_METRICS)


#: The score before the first validation: the metric and the negative loss. R² has no lower limit.
NO_SCORE = (-math.inf, -math.inf)


@dataclasses.dataclass
class RunState:
    """The progress of a run, counted from its start, also across interruptions.

    Attributes:
        step: number of finished steps.
        position: position of the training stream at which the next step continues.
        best_score: best validation score: the deciding metric and the negative loss.
        phase_score: best validation score of the current phase.
        best_epoch: epoch of `best_score`.
        best_of: version of the weights that has `best_score`.
        epochs_without_better: epochs since `phase_score` improved.
        skipped: number of skipped steps.
        skipped_in_row: number of skipped steps since the last good step.
        epoch_loss, epoch_correct, epoch_good_steps: sums over the good steps of the current epoch.
        window: metrics of the steps since the last record in the log.
        log_bytes: size of the part of ``metrics.jsonl`` that belongs to this state.
        seconds: time of the run.
        timed_seconds: time of the steps, without the steps that trace the graph.
        waited_seconds: the part of `timed_seconds` spent waiting for data.
        timed_images: number of images in `timed_seconds`.
        stopped: the key whose limit stopped the run. Empty: the run was not stopped.
        data: digest of the data set's fingerprint.
        best_sha256: checksum of the best weights.
        run: id of the run.
        seen: sketch of the images trained on so far.

    `data`, `best_sha256`, `run` and `seen` are empty in the states of versions that did not have
    them.
    """

    step: int = 0
    position: int = 0
    best_score: tuple[float, float] = NO_SCORE
    phase_score: tuple[float, float] = NO_SCORE
    best_epoch: int = 0
    best_of: str = ""
    epochs_without_better: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    epoch_loss: float = 0.0
    epoch_correct: float = 0.0
    epoch_good_steps: int = 0
    window: list[list[float]] = dataclasses.field(default_factory=list)
    log_bytes: int = 0
    seconds: float = 0.0
    # The next three exclude the first steps of a process, which trace the graph.
    timed_seconds: float = 0.0
    waited_seconds: float = 0.0
    timed_images: int = 0
    stopped: str = ""
    data: str = ""
    best_sha256: str = ""
    run: str = ""
    seen: str = ""

    def as_dict(self) -> dict:
        """Return the state for JSON. Python's JSON keeps every float exactly, also infinity."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> RunState:
        """Return the state from the values of `as_dict`. An empty `values` gives a run's start."""
        best = tuple(values.get("best_score", NO_SCORE))
        # States of older versions have no `phase_score`.
        phase = tuple(values.get("phase_score", best))
        return cls(**{**values, "best_score": best, "phase_score": phase})

    def begin_phase(self) -> None:
        """Restart `train.patience` for a new phase.

        The first epochs after unfreezing are often worse than the last epoch before it.
        """
        self.phase_score, self.epochs_without_better = NO_SCORE, 0

    def reconsider(self, max_hours: float | None, patience: int | None) -> None:
        """Clear `stopped` if the new limit is not reached, so that the run continues."""
        if self.stopped == "train.max_hours":
            over = max_hours is not None and self.seconds >= max_hours * 3600
        else:
            over = patience is not None and self.epochs_without_better >= patience
        if not over:
            self.stopped = ""

    def add(self, metrics: np.ndarray) -> int:
        """Add the metrics ``(steps, 4)`` of some steps, one step after the other.

        The method adds in the order of the steps, so that the sums do not depend on when the loop
        fetched the metrics.

        Returns:
            The length of the longest series of skipped steps that ends within these steps. The
            series may begin before them.
        """
        longest = 0
        for row in metrics.tolist():
            self.window.append(row)
            if row[_FINITE] < 1:
                self.skipped += 1
                self.skipped_in_row += 1
                longest = max(longest, self.skipped_in_row)
                continue
            self.skipped_in_row = 0
            self.epoch_good_steps += 1
            self.epoch_loss += row[_LOSS]
            self.epoch_correct += row[_CORRECT]
        return longest

    def close_window(self, batch_size: int, metric: str = "accuracy") -> dict[str, float]:
        """Return the mean metrics since the last call, over the steps that were not skipped.

        `grad_norm` is that of the last step. If all steps were skipped, the loss is also that of
        the last step. `metric` names the mean of `Loss.correct`.
        """
        good = [row for row in self.window if row[_FINITE] == 1]
        count = max(1, len(good))
        skipped = len(self.window) - len(good)
        last = self.window[-1]
        self.window = []
        return {
            "loss": sum(row[_LOSS] for row in good) / count if good else last[_LOSS],
            metric: sum(row[_CORRECT] for row in good) / (count * batch_size),
            "grad_norm": last[_NORM],
            "skipped_steps": skipped,
        }

    def close_epoch(self, batch_size: int, metric: str = "accuracy") -> dict[str, float]:
        """Return mean loss and `metric` of the epoch so far, and reset their sums."""
        good = max(1, self.epoch_good_steps)
        loss, correct = self.epoch_loss / good, self.epoch_correct / (good * batch_size)
        self.epoch_loss = self.epoch_correct = 0.0
        self.epoch_good_steps = 0
        return {"train_loss": loss, f"train_{metric}": correct}

    def images_per_second(self) -> float | None:
        """Return the training speed, without validation and tracing. `None`: no step was timed."""
        return self.timed_images / self.timed_seconds if self.timed_seconds else None

    def data_wait_share(self) -> float | None:
        """Return the fraction of step time spent waiting for data. `None`: no step was timed."""
        return self.waited_seconds / self.timed_seconds if self.timed_seconds else None
