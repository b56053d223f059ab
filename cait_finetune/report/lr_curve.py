"""The figure of a learning-rate range test."""

from __future__ import annotations

from pathlib import Path

from cait_tf.atomic import atomic_path


def draw_lr_curve(
    rates: list[float], losses: list[float], smoothed: list[float], marks: dict[str, float],
    title: str, path: Path,
) -> None:  # fmt: skip
    """Draw the loss by learning rate, with vertical lines at marked rates, and write a PNG.

    Args:
        marks: learning rates by name. Only the first two are drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(rates, losses, color="lightsteelblue", linewidth=1, label="loss of each step")
    axes.plot(rates, smoothed, color="tab:blue", linewidth=2, label="smoothed")
    for (name, rate), colour in zip(marks.items(), ("tab:green", "tab:orange"), strict=False):
        axes.axvline(rate, color=colour, linestyle="--", label=f"{name}: {rate:.1e}")
    low, high = min(smoothed), max(smoothed[0], smoothed[-1])
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=title)
    if high > low:  # equal losses have no range
        axes.set_ylim(low - 0.1 * (high - low), high + 0.3 * (high - low))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110)
