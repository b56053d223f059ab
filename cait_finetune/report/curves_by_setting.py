"""The figure of a metric by one setting: a line for each of the other settings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cait_finetune.report.style import drawing, short
from cait_finetune.scores.intervals import half_width
from cait_tf.atomic import atomic_path

_DECADE = 10.0  # the x axis is logarithmic if its ends differ by this factor or more


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        x: the values of the setting.
        scores: the metric of the runs at each value, from 0 to 1.
    """

    label: str
    x: Sequence[Any]
    scores: Sequence[Sequence[float]]


def draw_curves(curves: Sequence[Curve], key: str, metric: str, path: Path) -> None:
    """Write a PNG: the mean over the runs, with its 95 % interval where several runs are a point.

    Numbers of one sign that span a decade get a logarithmic axis. Other values than numbers get
    equal distances.
    """
    from matplotlib.figure import Figure

    values = list(dict.fromkeys(value for curve in curves for value in curve.x))
    numeric = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    values.sort(key=None if numeric else str)
    places = {value: value if numeric else number for number, value in enumerate(values)}
    logarithmic = numeric and values[0] > 0 and values[-1] / values[0] >= _DECADE
    # Error bars at equal places would cover each other.
    gap = (values[-1] - values[0]) / 200 if numeric else 0.02
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
                label=short(curve.label, 56), marker="o", markersize=3, elinewidth=0.8, capsize=2,
            )  # fmt: skip
        axes.set(xlabel=key, ylabel=f"{metric}, %", xscale="log" if logarithmic else "linear")
        few = len(values) <= 10
        if few or not numeric:
            axes.set_xticks(
                [places[one] for one in values],
                [f"{one:g}" if numeric else f"{one}" for one in values],
            )
            axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
