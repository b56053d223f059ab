"""The figures of a validation, in words; the set's own metric first."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = {"mean_per_class": "mean per class", "top1": "top-1"}


def in_words(figures: Mapping[str, float], metric: str) -> str:
    """Such as ``mean per class 91.20%, top-1 92.00%``; of a set whose metric is top-1 that alone."""
    shown = [metric] if metric == "top1" else [metric, "top1"]
    return ", ".join(f"{_NAMES[name]} {figures[name]:.2%}" for name in shown)
