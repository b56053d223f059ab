"""The figure of a sweep: one axis per setting, and one line per run, coloured by its metric."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cait_finetune.runs.values import labels
from cait_tf.atomic import atomic_path

#: An axis is logarithmic if the highest value is at least this many times the lowest value.
_DECADES = 10.0
#: Largest spread of the lines through one value, as a share of the axis length.
_SPREAD = 0.05
#: Up to this many different numbers, each number has its own tick.
_FEW = 6


@dataclass(frozen=True)
class Axis:
    """The positions of the runs on an axis, and its ticks.

    Attributes:
        places: position of each run, from 0 to 1.
        ticks: position and label of each tick.
    """

    places: list[float]
    ticks: list[tuple[float, str]]


def axis(values: list[Any], show: Callable[[Any], str] | None = None) -> Axis:
    """Return the axis of a setting: numeric, logarithmic or categorical.

    Different numbers get a numeric axis. The axis is logarithmic if all numbers are positive and
    span a decade. Equal numbers and other values get a categorical axis.

    Args:
        show: returns the label of a value. `None`: short labels that differ for different values.
    """
    show = show or labels(values, digits=3, width=22)
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        return _categories(values, show)
    low, high = min(values), max(values)
    if low == high:
        return _categories(values, show)
    logarithmic = low > 0 and high / low >= _DECADES
    scale = math.log10 if logarithmic else float
    start, length = scale(low), scale(high) - scale(low)
    marks = sorted(set(values))
    few = len(marks) <= _FEW
    if not few and logarithmic:
        decades = range(math.ceil(start), math.floor(scale(high)) + 1)
        marks = sorted({low, high, *(10.0**decade for decade in decades)})
    elif not few:
        marks = [low + (high - low) * part / 4 for part in range(5)]
    ticks = [((scale(mark) - start) / length, show(mark)) for mark in marks]
    places = [(scale(one) - start) / length for one in values]
    return Axis(_side_by_side(places) if few else places, _apart(ticks))


def _categories(values: list[Any], show: Callable[[Any], str]) -> Axis:
    """Return a categorical axis: numbers by size, then texts by alphabet, then null."""
    different = sorted(
        {(one is None, not isinstance(one, int | float), one if isinstance(one, int | float) else 0,
          show(one)) for one in values}
    )  # fmt: skip
    names = [name for *_, name in different]
    step = 1.0 / (len(names) - 1) if len(names) > 1 else 0.0
    centres = {name: step * place if step else 0.5 for place, name in enumerate(names)}
    places = [centres[show(one)] for one in values]
    return Axis(_side_by_side(places), [(place, name) for name, place in centres.items()])


def _side_by_side(places: list[float]) -> list[float]:
    """Spread runs at the same position slightly, so that each line stays visible."""
    different = sorted(set(places))
    gap = min((b - a for a, b in itertools.pairwise(different)), default=1.0)
    apart = []
    for number, place in enumerate(places):
        alike = places.count(place)
        share = places[:number].count(place) / (alike - 1) - 0.5 if alike > 1 else 0.0
        apart.append(place + share * min(_SPREAD, gap / 3))
    return apart


def _apart(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Remove ticks whose labels would overlap. The first and last tick stay."""
    first, *inner, last = ticks
    kept = [first]
    for place, name in inner:
        if place - kept[-1][0] > 0.05 and last[0] - place > 0.05:
            kept.append((place, name))
    return [*kept, last]


def draw_parallel_coordinates(
    settings: dict[str, list[Any]], metric: str, scores: list[float], path: Path
) -> None:
    """Draw one line per run across the axes of its settings and its score, and write a PNG.

    Args:
        settings: the values of all runs by key, in the order of `scores`.
        metric: label of the scores.
        scores: one per run, in [0, 1]. Higher is better. The best run is a thick line on top.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    columns = {key: axis(values) for key, values in settings.items()}
    columns[metric] = axis(scores, "{:.1%}".format)
    figure = Figure(figsize=(1.5 + 1.9 * len(columns), 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colour = ScalarMappable(Normalize(min(scores), max(scores)), colormaps["viridis_r"])
    # Draw the best run last, on top. Of equal scores the first run is the best, as in the table.
    order = sorted(range(len(scores)), key=lambda run: (scores[run], -run))
    for run in order:
        best = run == order[-1]
        axes.plot(
            range(len(columns)),
            [column.places[run] for column in columns.values()],
            color=colour.to_rgba(scores[run]),
            linewidth=3.0 if best else 1.3,
            alpha=1.0 if best else 0.75,
            marker="o",
            markersize=5 if best else 3,
            zorder=3 if best else 2,
        )
    for place, column in enumerate(columns.values()):
        axes.axvline(place, color="0.25", linewidth=1, zorder=1)
        for height, name in column.ticks:
            axes.plot([place - 0.02, place + 0.02], [height] * 2, color="0.25", linewidth=1)
            axes.annotate(
                name, (place, height), xytext=(5, 3), textcoords="offset points", fontsize=8,
                zorder=4, bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
    axes.set_xticks(range(len(columns)), [key.replace(".", ".\n", 1) for key in columns])
    axes.set(yticks=[], xlim=(-0.15, len(columns) - 0.55), ylim=(-0.06, 1.06))
    figure.suptitle(f"{len(scores)} runs; best (thick): {max(scores):.2%}", fontsize=11)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0)
    figure.colorbar(colour, ax=axes, label=metric, format=lambda value, _: f"{value:.1%}")
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)
