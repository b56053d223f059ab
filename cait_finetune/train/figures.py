"""The figures of a validation, in words; the set's own metric first."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = {"mean_per_class": "mean per class", "top1": "top-1", "mean_average_precision": "mAP"}


def in_words(figures: Mapping[str, float], metric: str) -> str:
    """Such as ``mean per class 91.20%, top-1 92.00%``; other metrics alone."""
    shown = [metric, "top1"] if metric == "mean_per_class" else [metric]
    return ", ".join(f"{_NAMES[name]} {figures[name]:.2%}" for name in shown)
