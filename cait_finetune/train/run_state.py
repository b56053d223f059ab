"""Where a run stands: what of it is no tensor. Goes into a state file as JSON, and comes back equal."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from cait_finetune.train.step import STEP_METRICS

_LOSS, _CORRECT, _NORM, _FINITE = (STEP_METRICS.index(name) for name in STEP_METRICS)


#: Top-1 and negative loss before anything was validated.
NO_SCORE = (-1.0, -math.inf)


@dataclasses.dataclass
class RunState:
    """Counted from the start of the run, whatever interruptions there were.

    ``step`` is how many steps are done, ``position`` where the training stream goes on,
    ``best_score`` the deciding top-1 and negative loss, ``best_of`` the version of the weights that
    had it, ``phase_score`` the best of the current phase, ``epochs_without_better`` the epochs since
    that, ``window`` the metrics since the last line in the log, ``log_bytes`` how much of
    ``metrics.jsonl`` belongs to it, ``data`` the digest of the data set's fingerprint, ``best_sha256``
    the checksum of the best weights, ``run`` the run's id, ``seen`` the images trained on so far as a
    sketch; these are empty in states of versions before them.
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
    # Of those, what was spent on steps, what of it on waiting for data, and on how many images:
    # without the first steps of a process, which trace the graph.
    timed_seconds: float = 0.0
    waited_seconds: float = 0.0
    timed_images: int = 0
    stopped: str = ""
    data: str = ""
    best_sha256: str = ""
    run: str = ""
    seen: str = ""

    def as_dict(self) -> dict:
        """For JSON, whose floats are exact and may be infinite."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> RunState:
        """The inverse of `as_dict`; of an empty one the start of a run."""
        best = tuple(values.get("best_score", NO_SCORE))
        # States of versions before it have no score of the phase.
        phase = tuple(values.get("phase_score", best))
        return cls(**{**values, "best_score": best, "phase_score": phase})

    def begin_phase(self) -> None:
        """Judge patience anew: the first epochs after unfreezing are often worse than the last before."""
        self.phase_score, self.epochs_without_better = NO_SCORE, 0

    def reconsider(self, max_hours: float | None, patience: int | None) -> None:
        """Let a run that was stopped by a limit go on, if the limit is another by now."""
        if self.stopped == "train.max_hours":
            over = max_hours is not None and self.seconds >= max_hours * 3600
        else:
            over = patience is not None and self.epochs_without_better >= patience
        if not over:
            self.stopped = ""

    def add(self, metrics: np.ndarray) -> int:
        """Take in the metrics ``(steps, 4)`` of some steps, one by one.

        Sums are formed in the order of the steps, so that they do not depend on when the metrics
        were fetched.

        Returns:
            The longest row of skipped steps that ends in one of these.
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

    def close_window(self, batch_size: int) -> dict[str, float]:
        """The means since the last call, over the steps that were not skipped."""
        good = [row for row in self.window if row[_FINITE] == 1]
        count = max(1, len(good))
        skipped = len(self.window) - len(good)
        last = self.window[-1]
        self.window = []
        return {
            "loss": sum(row[_LOSS] for row in good) / count if good else last[_LOSS],
            "accuracy": sum(row[_CORRECT] for row in good) / (count * batch_size),
            "grad_norm": last[_NORM],
            "skipped_steps": skipped,
        }

    def close_epoch(self, batch_size: int) -> dict[str, float]:
        """Mean loss and accuracy of the epoch so far; the next starts from nothing."""
        good = max(1, self.epoch_good_steps)
        loss, accuracy = self.epoch_loss / good, self.epoch_correct / (good * batch_size)
        self.epoch_loss = self.epoch_correct = 0.0
        self.epoch_good_steps = 0
        return {"train_loss": loss, "train_accuracy": accuracy}

    def images_per_second(self) -> float | None:
        """Training alone, without validation and tracing; None when nothing was timed."""
        return self.timed_images / self.timed_seconds if self.timed_seconds else None

    def data_wait_share(self) -> float | None:
        """The share of the time spent on steps in which the next batch was waited for."""
        return self.waited_seconds / self.timed_seconds if self.timed_seconds else None
