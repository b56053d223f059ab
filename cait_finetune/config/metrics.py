"""Display names of the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cait_finetune.errors import bad_value

METRIC_NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "mean_average_precision": "mAP",
    "f1": "F1",
}


#: Scores beside the metrics in ``scores.json``.
OTHER_SCORES = ("images", "loss", "ece", "ece_calibrated", "loss_calibrated")


def check_metric_names(names: Iterable[object]) -> None:
    """Check the names of a program's metrics.

    Raises:
        UserError: a name is no text without spaces, or the name of one of our scores.
    """
    known = (*METRIC_NAMES, *OTHER_SCORES, "examples")
    for name in names:
        if not isinstance(name, str) or name in known or not name.isidentifier():
            raise bad_value(
                "metrics", repr(name), f"a name without spaces, and none of {', '.join(known)}"
            )


def format_metrics(metrics: Mapping[str, float], metric: str) -> str:
    """Return ``mean per class 91.20%, top-1 92.00%``; any other `metric` alone, as ``top-1 92.00%``.

    Args:
        metrics: values from 0 to 1 by key of `METRIC_NAMES`.
        metric: the data set's metric.
    """
    shown = [metric, "top1"] if metric == "mean_per_class" else [metric]
    return ", ".join(f"{METRIC_NAMES[name]} {metrics[name]:.2%}" for name in shown)
