"""The figure of a metric by one setting: one line per combination of the other settings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cait_finetune.report.style import drawing
from cait_finetune.runs.values import labels
from cait_finetune.scores.intervals import half_width
from cait_tf.atomic import atomic_path

_DECADE = 10.0  # the x axis is logarithmic if its ends differ by this factor or more


@dataclass(frozen=True)
class Axis:
    """The setting on the x axis.

    Attributes:
        values: the different values of the setting, sorted.
        labels: the text of each value.
    """

    key: str
    values: Sequence[Any]
    labels: Sequence[str]

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(
            isinstance(one, int | float) and not isinstance(one, bool) for one in self.values
        )


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        x: indices in `Axis.values`.
        scores: for each index, the metric of the runs with that value, from 0 to 1.
    """

    label: str
    x: Sequence[int]
    scores: Sequence[Sequence[float]]


def draw_curves(curves: Sequence[Curve], axis: Axis, metric: str, path: Path) -> None:
    """Write a PNG: the mean over the runs at each value, with its 95 % interval for several runs.

    Positive numbers that span a decade get a logarithmic axis. Values that are not numbers get
    equal distances.
    """
    from matplotlib.figure import Figure

    numeric, places = axis.numeric, axis.values if axis.numeric else range(len(axis.values))
    logarithmic = numeric and places[0] > 0 and places[-1] / places[0] >= _DECADE
    # Error bars at equal places would cover each other.
    gap = (places[-1] - places[0]) / 200 if numeric else 0.02
    name = labels((curve.label for curve in curves), width=56)
    with drawing():
        figure = Figure(figsize=(8.4, 5), layout="constrained")
        axes = figure.subplots()
        for number, curve in enumerate(curves):
            shift = number - (len(curves) - 1) / 2
            axes.errorbar(
                [places[one] * 1.015**shift if logarithmic else places[one] + gap * shift
                 for one in curve.x],
                [100 * statistics.fmean(one) for one in curve.scores],
                yerr=[100 * half_width(one) for one in curve.scores],
                label=name(curve.label), marker="o", markersize=3, elinewidth=0.8, capsize=2,
            )  # fmt: skip
        axes.set(xlabel=axis.key, ylabel=f"{metric}, %", xscale="log" if logarithmic else "linear")
        if len(places) <= 10 or not numeric:
            axes.set_xticks(list(places), list(axis.labels))
            axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
