"""Series over batch sizes as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cait_finetune.benchmark.scale_row import Series
from cait_finetune.report.style import drawing

_LOOKS = {("inference", False): ":", ("training", False): "-", ("training", True): "--"}


def draw(measured: Sequence[Series], path: Path) -> None:
    """Write a PNG: images a second and memory against the batch, a colour for each model."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator

    models = list(dict.fromkeys(series.task.model for series in measured))
    colours = {model: f"C{number}" for number, model in enumerate(models)}
    looks = {}
    with drawing():
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        speed, memory = figure.subplots(1, 2)
        for series in measured:
            task, sizes = series.task, list(series.peaks)
            look = _LOOKS[task.work, task.remat]
            looks[look] = f"{task.work}{' with remat' if task.remat else ''}"
            style = {
                "color": colours[task.model],
                "linestyle": look,
                "marker": "o",
                "markersize": 3,
            }
            speed.plot(sizes, [one.median for one in series.speeds.values()], **style)
            memory.plot(sizes, [peak / 1e9 for peak in series.peaks.values()], **style)
        speed.set(title="images a second", xlabel="batch size")
        memory.set(title="most memory while working, GB", xlabel="batch size")
        ticks = sorted({size for series in measured for size in series.peaks})
        for axes in (speed, memory):
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(ticks, [str(size) for size in ticks], minor=False)
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.3)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        handles = [Line2D([], [], color=colours[model], label=model) for model in models]
        handles += [Line2D([], [], color="grey", linestyle=look, label=name)
                    for look, name in looks.items()]  # fmt: skip
        figure.legend(handles=handles, loc="outside right upper")
        figure.savefig(path, dpi=110)
