"""The training curves: loss and accuracy by epoch, learning rate by step."""

from __future__ import annotations

from pathlib import Path

from cait_finetune.report.style import drawing
from cait_tf.atomic import atomic_path


def draw_curves(
    steps: list[dict],
    epochs: list[dict],
    title: str,
    path: Path,
    metric: str = "top1",
    train_metric: str = "accuracy",
) -> None:
    """Draw the records of ``metrics.jsonl`` and write a PNG.

    Without epoch records, the figure shows loss and accuracy by step.

    Args:
        metric: the validation metric that the accuracy plot shows.
        train_metric: the training metric that the accuracy plot shows.
    """
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        loss, accuracy, rate = figure.subplots(1, 3)
        for axes, name, train_key, validation_key in (
            (loss, "loss", "train_loss", "validation_loss"),
            (accuracy, train_metric, f"train_{train_metric}", f"validation_{metric}"),
        ):
            if not epochs:
                axes.plot([record["step"] for record in steps], [record[name] for record in steps])
                axes.set(xlabel="step", title=name)
                continue
            numbers = [record["epoch"] for record in epochs]
            for label, key, colour in (
                ("train", train_key, "C0"),
                ("validation", validation_key, "C1"),
            ):
                values = [record[key] for record in epochs]
                axes.plot(numbers, values, label=label, color=colour, marker="o", markersize=3)
            axes.set(xlabel="epoch", title=name)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend()
        if train_metric == "accuracy":
            accuracy.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        rates = [record["learning_rate"] for record in steps]
        rate.plot([record["step"] for record in steps], rates, "C2")
        rate.set(xlabel="step", title="learning rate")
        for axes in (loss, accuracy, rate):
            axes.grid(alpha=0.3)
        figure.suptitle(title)
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=110)
