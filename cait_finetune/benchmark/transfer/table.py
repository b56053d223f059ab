"""The comparison as Markdown: a table for each data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cait_finetune.benchmark.report import markdown
from cait_finetune.benchmark.transfer.results import Comparison

#: Which lines are drawn under the table, as differences on the same images.
_GAINS = (("full", "from scratch"), ("full", "from scratch 3x"))


def table(comparison: Comparison) -> str:
    """Mean and range of test figures, in percent, by method and training images."""
    header = ["", *map(_share, comparison.shares, comparison.images)]
    rows = [[method, *map(_cell, test)] for method, test in comparison.test.items()]
    for method, over in _GAINS:
        if {method, over} <= comparison.test.keys():
            gains = comparison.gain(method, over)
            rows.append([f"*{method} − {over}*", *map(_gain, gains)])
    return f"**{comparison.dataset}**\n\n{markdown(header, rows)}"


def _share(share: float, images: int) -> str:
    return f"{share * 100:.3g} % ({images:,})"


def _cell(values: Sequence[float]) -> str:
    return f"{np.mean(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def _gain(values: Sequence[float]) -> str:
    return f"{np.mean(values):+.1f} ({min(values):+.1f} to {max(values):+.1f})"
