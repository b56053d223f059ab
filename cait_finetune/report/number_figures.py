"""Figures of predicted numbers: predicted against true values, and the residuals."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from cait_finetune.report.number_text import format_number
from cait_finetune.report.style import BLUE, GREY, ORANGE, drawing, short
from cait_tf.atomic import atomic_path

#: Targets in a figure at most.
MOST_TARGETS = 12
_POINTS = 1500  # more images are drawn as hexagons, whose colour shows the number of images
_FAR = 5  # a prediction is off the axes if it is this many ranges away from the others
_DENSITY = LinearSegmentedColormap.from_list("density", ["#b9d1ec", BLUE, "#0e2a4d"])
_BAND = {"facecolor": ORANGE, "alpha": 0.2, "edgecolor": "none"}
_LINE = {"color": GREY, "linestyle": "--", "linewidth": 1}


@dataclasses.dataclass(frozen=True)
class _Panel:
    """What a panel shows of one target: M images with a true value and a finite prediction.

    Attributes:
        predicted, true: ``(M,)`` float64.
        width: half the width of the interval. Not finite: none.
        limits: the lowest and highest value on the axes.
        heading: the panel's title.
        empty: why the panel has no points. Empty text: it has some.
    """

    predicted: np.ndarray
    true: np.ndarray
    width: float
    limits: tuple[float, float]
    heading: str
    empty: str

    @property
    def has_band(self) -> bool:
        return bool(np.isfinite(self.width))


def draw_predicted(
    predicted: np.ndarray,
    true: np.ndarray,
    names: Sequence[str],
    widths: np.ndarray,
    title: str,
    path: Path,
) -> None:
    """Write a PNG that shows the predicted against the true values, with one panel per target.

    The figure shows the first `MOST_TARGETS` targets.

    Args:
        predicted: ``(N, T)``. A value that is not finite is counted in the panel's title.
        true: ``(N, T)``. NaN: the image has no value of this target.
        names: the targets, T.
        widths: half the width of each target's interval, ``(T,)``. Not finite: no interval.
        title: the title of the figure.

    Raises:
        OSError: the file cannot be written.
    """
    panels = _panels(predicted, true, names, widths)
    lines, columns = _grid(len(panels))
    side = 5.4 if len(panels) == 1 else 3.7
    with drawing():
        figure = Figure(figsize=(side * columns, (side + 0.4) * lines + 0.8), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).flat
        for ax, panel in zip(axes, panels, strict=False):
            _draw_agreement(ax, panel)
        for ax in list(axes)[len(panels) :]:
            ax.set_axis_off()
        _finish(figure, panels, "predicted = true", _title(title, names), path)


def draw_residuals(
    predicted: np.ndarray,
    true: np.ndarray,
    names: Sequence[str],
    widths: np.ndarray,
    title: str,
    path: Path,
) -> None:
    """Write a PNG that shows the residuals against the predicted values, with a histogram.

    A residual is predicted minus true. The x axis is the predicted value, because a user of the model
    knows it. Against the true value, a good model shows a slope as well: it predicts extreme values
    nearer to the mean.

    Args:
        predicted: ``(N, T)``. A value that is not finite is counted in the panel's title.
        true: ``(N, T)``. NaN: the image has no value of this target.
        names: the targets, T.
        widths: half the width of each target's interval, ``(T,)``. Not finite: no interval.
        title: the title of the figure.

    Raises:
        OSError: the file cannot be written.
    """
    panels = _panels(predicted, true, names, widths)
    lines, columns = _grid(len(panels))
    wide = 6.4 if len(panels) == 1 else 4.3
    with drawing():
        figure = Figure(figsize=(wide * columns, 3.3 * lines + 0.9), layout="constrained")
        axes = figure.subplots(
            lines, 2 * columns, width_ratios=(4, 1) * columns, sharey=False, squeeze=False
        )
        pairs = axes.reshape(-1, 2)
        for (ax, beside), panel in zip(pairs, panels, strict=False):
            _draw_residual(ax, beside, panel)
        for ax in pairs[len(panels) :].flat:
            ax.set_axis_off()
        _finish(figure, panels, "no error", _title(title, names), path)


def _title(title: str, names: Sequence[str]) -> str:
    more = f" (the first {MOST_TARGETS} of {len(names):,} targets)"
    return title + more * (len(names) > MOST_TARGETS)


def _grid(panels: int) -> tuple[int, int]:
    """Return the numbers of lines and columns."""
    columns = panels if panels <= 3 else {4: 2, 5: 3, 6: 3, 9: 3}.get(panels, 4)
    return -(-panels // columns), columns


def _panels(
    predicted: np.ndarray, true: np.ndarray, names: Sequence[str], widths: np.ndarray
) -> list[_Panel]:
    predicted, true = np.asarray(predicted, "float64"), np.asarray(true, "float64")
    columns = zip(names, predicted.T, true.T, widths, strict=True)
    return [_panel(*column) for column, _ in zip(columns, range(MOST_TARGETS), strict=False)]


def _panel(name: str, predicted: np.ndarray, true: np.ndarray, width: float) -> _Panel:
    known = np.isfinite(true)
    images = int(known.sum())
    predicted, true = predicted[known], true[known]
    finite = np.isfinite(predicted)
    lost = images - int(finite.sum())
    predicted, true = predicted[finite], true[finite]
    error = np.abs(predicted - true).mean() if len(true) and not lost else None
    said = [f"{images:,} image{'s' * (images != 1)}, MAE {format_number(error)}"]
    if lost:
        said.append(f"{lost:,} prediction{'s' * (lost != 1)} not finite")
    near = _near(predicted, true)
    far = len(true) - int(near.sum())
    if far:
        said.append(f"{far:,} prediction{'s' * (far != 1)} outside the axes")
    if images and not np.isfinite(width):
        said.append("no interval")
    empty = "" if len(true) else "no finite prediction" if images else "no image has a true value"
    heading = "\n".join([_short(name), said[0], *([", ".join(said[1:])] if said[1:] else [])])
    predicted, true = predicted[near], true[near]
    limits = _limits(np.concatenate([predicted, true]))
    return _Panel(predicted, true, float(width), limits, heading if images else _short(name), empty)


def _short(name: str) -> str:
    """Return a name that fits above a panel. East Asian characters are twice as wide."""
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in name)
    return short(name, 18 if wide else 34)


def _near(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return which predictions the axes include, ``(M,)`` bool.

    A few extreme predictions would otherwise squeeze all others into one point.
    """
    if not len(true):
        return np.zeros(0, bool)
    low, middle, high = np.percentile(predicted, (25, 50, 75))
    reach = max(np.ptp(true), high - low, abs(middle - np.median(true)))
    return (np.abs(predicted - middle) <= _FAR * reach) | (reach == 0)


def _limits(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.1 * abs(low) or 1.0
    return low - margin, high + margin


def _draw_agreement(ax: Axes, panel: _Panel) -> None:
    ax.set_title(panel.heading)
    if panel.empty:
        _draw_nothing(ax, panel.empty)
        return
    ends = np.array(panel.limits)
    if panel.has_band:
        ax.fill_between(ends, ends - panel.width, ends + panel.width, **_BAND)
    ax.plot(ends, ends, **_LINE)
    _draw_images(ax, panel.true, panel.predicted, (*panel.limits, *panel.limits))
    ax.set(xlim=panel.limits, ylim=panel.limits, aspect="equal")
    _label(ax, "true", "predicted")


def _draw_residual(ax: Axes, beside: Axes, panel: _Panel) -> None:
    ax.set_title(panel.heading)
    if panel.empty:
        _draw_nothing(ax, panel.empty)
        beside.set_axis_off()
        return
    residuals = panel.predicted - panel.true
    largest = float(np.abs(residuals).max())
    if panel.has_band and panel.width <= 3 * largest:  # else the points would be a flat line
        largest = max(largest, panel.width)
    top = 1.08 * largest or 0.1 * float(np.abs(panel.true).max()) or 1.0
    across = _limits(panel.predicted)
    if panel.has_band:
        ax.axhspan(-panel.width, panel.width, **_BAND)
    ax.axhline(0, **_LINE)
    _draw_images(ax, panel.predicted, residuals, (*across, -top, top))
    ax.set(xlim=across, ylim=(-top, top))
    _label(ax, "predicted", "residual: predicted − true")
    bins = 31 if len(residuals) > 100 else 11  # odd: one bin is about zero
    beside.hist(residuals, bins=bins, range=(-top, top), orientation="horizontal", color=BLUE)
    beside.axhline(0, **_LINE)
    beside.set(ylim=(-top, top), xlabel="images")
    beside.tick_params(labelleft=False, left=False)
    beside.xaxis.set_major_locator(MaxNLocator(2, integer=True))


def _label(ax: Axes, x: str, y: str) -> None:
    ax.set(xlabel=x, ylabel=y)
    for axis, most in ((ax.xaxis, 4), (ax.yaxis, 6)):  # the texts of the x axis are side by side
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(lambda value, _: _tick(value))
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)


def _tick(value: float) -> str:
    """Return a tick's whole number. matplotlib would put a common factor where the title is."""
    return f"{value or 0.0:,.10g}".replace("-", "−")


def _draw_images(
    ax: Axes, x: np.ndarray, y: np.ndarray, extent: tuple[float, float, float, float]
) -> None:
    """Draw points, or hexagons for many images. `extent` is left, right, bottom and top."""
    if len(x) > _POINTS:
        ax.hexbin(x, y, gridsize=(48, 27), extent=extent, bins="log", mincnt=1, vmin=1,
                  cmap=_DENSITY, linewidths=0.2, zorder=3)  # fmt: skip
        return
    few = len(x) <= 200
    ax.scatter(x, y, s=22 if few else 9, color=BLUE, alpha=0.75 if few else 0.4, linewidths=0,
               zorder=3)  # fmt: skip


def _draw_nothing(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, ha="center", va="center", color=GREY, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _finish(figure: Figure, panels: Sequence[_Panel], line: str, title: str, path: Path) -> None:
    """Add the legend and the title, and write the file."""
    handles = [Line2D([], [], **_LINE, label=line)]
    if any(panel.has_band and not panel.empty for panel in panels):
        handles.append(Patch(**_BAND, label="interval"))
    if any(len(panel.true) > _POINTS for panel in panels):
        handles.append(Patch(color=BLUE, label="darker: more images"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle(title, fontsize=12, wrap=True)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)
