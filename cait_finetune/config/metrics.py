"""Display names of the metrics, and the format of their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cait_finetune.errors import bad_value

METRIC_NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "mean_average_precision": "mAP",
    "f1": "F1",
    "r2": "R²",
    "mae": "MAE",
    "rmse": "RMSE",
    "spearman": "Spearman",
}
#: The sign between a metric and the label that it measures.
_OF = "/"
#: Metrics that are not shown in percent: two errors in the unit of the target, and a correlation.
_PLAIN = ("mae", "rmse", "spearman")


#: Smallest number of classes for which top-5 accuracy is shown.
TOP5_FROM = 10
#: Keys of ``scores.json`` that are not metrics.
OTHER_SCORES = (
    "images", "loss", "ece", "ece_calibrated", "loss_calibrated", "coverage", "targets", "intervals",
)  # fmt: skip


def of_label(name: str, label: str) -> str:
    """Return the key of a metric that measures one label of several: ``top1/colour``."""
    return f"{name}{_OF}{label}"


def known_metrics(found: Iterable[str]) -> dict[str, str]:
    """Return the display names of the keys in `found` that are our metrics: ``{"top1": "top-1"}``.

    The metrics of all images come first, then those of single labels: ``top1/colour`` is
    ``top-1 colour``.
    """
    names = list(found)
    of_labels = [name for name in names if name.partition(_OF)[0] in METRIC_NAMES and _OF in name]
    return {name: words for name, words in METRIC_NAMES.items() if name in names} | {
        name: metric_words(name) for name in of_labels
    }


def further_scores(found: Iterable[str]) -> list[str]:
    """Return the keys in `found` that are a caller's metrics."""
    ours = (*METRIC_NAMES, *OTHER_SCORES)
    return [name for name in found if name.partition(_OF)[0] not in ours]


def metric_words(name: str) -> str:
    """Return the display name of a metric: ``top-1``, or ``top-1 colour`` for one label."""
    metric, _, label = name.partition(_OF)
    words = METRIC_NAMES.get(metric, metric)
    return f"{words} {label}" if label else words


def check_metric_names(names: Iterable[object]) -> None:
    """Check the names of a caller's metrics.

    Raises:
        UserError: a name is not an identifier, or is the name of one of our scores.
    """
    known = (*METRIC_NAMES, *OTHER_SCORES, "examples")
    for name in names:
        if not isinstance(name, str) or name in known or not name.isidentifier():
            raise bad_value(
                "metrics", repr(name), f"a name without spaces, and none of {', '.join(known)}"
            )


def format_metrics(
    metrics: Mapping[str, float],
    metric: str,
    intervals: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Return ``top-1 92.00%``, or ``mean per class 91.20%, top-1 92.00%`` for `mean_per_class`.

    Args:
        metrics: values by key of `METRIC_NAMES`.
        metric: the data set's metric.
        intervals: the 95 % intervals to show after the values, by key. `None`: none.
    """
    shown = [metric, "top1"] if metric == "mean_per_class" else [metric]
    return ", ".join(
        f"{metric_words(name)} {format_value(name, metrics[name], (intervals or {}).get(name))}"
        for name in shown
    )


def format_value(name: str, value: float, interval: Sequence[float] | None = None) -> str:
    """Return a metric's value, such as ``99.20% (98.4–100.0)`` with its 95 % interval.

    Args:
        name: the metric's key. MAE, RMSE and Spearman's correlation are not shown in percent.
    """
    if name in _PLAIN:
        return f"{value:.4g}"
    if interval is None:
        return f"{value:.2%}"
    low, high = interval
    return f"{value:.2%} ({100 * low:.1f}–{100 * high:.1f})"
