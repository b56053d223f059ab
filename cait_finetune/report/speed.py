"""The figure of training speed and of the time spent waiting for images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cait_finetune.report.style import GREEN, ORANGE, drawing
from cait_tf.atomic import atomic_path


def draw_speed(steps: Sequence[dict], path: Path) -> None:
    """Draw the step records of ``metrics.jsonl`` and write a PNG.

    The figure omits the first record, whose time includes tracing, unless it is the only record.
    """
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(12, 2.6), layout="constrained")
        speed, waiting = figure.subplots(1, 2)
        for ax, key, colour, title in (
            (speed, "images_per_second", GREEN, "images a second"),
            (waiting, "data_wait_share", ORANGE, "share of the time spent waiting for images"),
        ):
            timed = [record for record in steps[1:] or steps if record.get(key) is not None]
            ax.plot(
                [record["step"] for record in timed],
                [record[key] for record in timed],
                color=colour,
                linewidth=1.3,
                marker="o" if len(timed) == 1 else None,  # one point has no line
            )
            ax.set(title=title, xlabel="step", ylim=(0, None))
            ax.grid(alpha=0.3)
        waiting.set_ylim(0, 1)
        waiting.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=110)
