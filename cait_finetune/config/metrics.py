"""The names of the metrics as people read them."""

from __future__ import annotations

from collections.abc import Mapping

METRIC_NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "mean_average_precision": "mAP",
    "f1": "F1",
}


def format_metrics(metrics: Mapping[str, float], metric: str) -> str:
    """``mean per class 91.20%, top-1 92.00%``: the set's own metric first; other metrics alone."""
    shown = [metric, "top1"] if metric == "mean_per_class" else [metric]
    return ", ".join(f"{METRIC_NAMES[name]} {metrics[name]:.2%}" for name in shown)
