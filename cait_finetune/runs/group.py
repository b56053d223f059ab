"""Runs whose settings are equal: the mean of their metrics over different draws, with its interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cait_finetune.config.metrics import format_value
from cait_finetune.runs.leaderboard import Entry
from cait_finetune.runs.values import mark_of
from cait_finetune.scores.intervals import half_width

#: Keys that draw images, folds and weights. Runs that differ only in these keys form a group.
DRAWS = ("seed", "dataset.seed", "dataset.fold")


@dataclass(frozen=True)
class Group:
    """Runs whose settings are equal, except the keys in `DRAWS`.

    Runs with an equal draw count once, with their mean: they are one sample of the draw.

    Attributes:
        runs: finished runs.
        metric: the metric that judges them, without ``validation_``.
    """

    runs: Sequence[Entry]
    metric: str

    @property
    def score(self) -> float:
        """The mean of the validation metric. −∞: a run has none."""
        return statistics.fmean(
            statistics.fmean(run.score for run in runs) for runs in self.draws.values()
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the first run."""
        return self.runs[0].settings

    @property
    def draws(self) -> dict[tuple[str, ...], list[Entry]]:
        """The runs of each draw."""
        found: dict[tuple[str, ...], list[Entry]] = {}
        for run in self.runs:
            found.setdefault(tuple(mark_of(run.settings, key) for key in DRAWS), []).append(run)
        return found

    @property
    def repeated(self) -> list[list[Entry]]:
        """The runs of each draw that several runs share."""
        return [runs for runs in self.draws.values() if len(runs) > 1]

    @property
    def title(self) -> str:
        """The number of runs, and of their draws if several runs have one draw."""
        draws = len(self.draws)
        of = f" of {draws} draw{'s' * (draws > 1)}" if self.repeated else ""
        return f"{len(self.runs)} runs{of}"

    def values(self, split: str) -> list[float]:
        """Return the metric of each draw on a split. Runs without the metric are left out."""
        return list(self._by_draw(split).values())

    def cell(self, split: str) -> str:
        """Format the metric: the mean with its interval, or one draw with its interval."""
        values = self.values(split)
        if not values:
            return ""
        if len(values) > 1:
            return f"{statistics.fmean(values):.2%} ± {100 * half_width(values):.2f}"
        intervals = self.runs[0].finished_result.get("intervals", {})
        own = intervals.get(f"{split}_{self.metric}") if len(self.runs) == 1 else None
        return format_value(self.metric, values[0], own)

    def difference(self, best: Group) -> str:
        """Format the mean paired test-metric difference to `best`, in points, with its interval."""
        differences = self.minus(best)
        if self is best or len(differences) < 2:
            return ""
        mean, half = 100 * statistics.fmean(differences), 100 * half_width(differences)
        if not math.isfinite(mean):
            return ""
        return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"

    def minus(self, other: Group) -> list[float]:
        """Return the differences of the test metric between equal draws."""
        mine, theirs = self._by_draw("test"), other._by_draw("test")
        return [mine[draw] - theirs[draw] for draw in mine if draw in theirs]

    def _by_draw(self, split: str) -> dict[tuple[str, ...], float]:
        found = {}
        for draw, runs in self.draws.items():
            scores = [run.finished_result.get(f"{split}_{self.metric}") for run in runs]
            if known := [score for score in scores if score is not None]:
                found[draw] = statistics.fmean(known)
        return found
