"""Numbers as text for people."""

from __future__ import annotations

import math

_DIGITS = 4
_SMALLEST, _LARGEST = 1e-4, 1e7  # other numbers have an exponent

MISSING = "–"


def format_number(value: float | None) -> str:
    """Return the number with 4 significant digits: ``0.1235``, ``-12.5``, ``123,500``, ``1.235e+08``.

    Args:
        value: `None`, NaN and infinity give a dash.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    rounded = float(f"{value:.{_DIGITS}g}")
    if not rounded:
        return "0"  # also for -0.0
    if _SMALLEST <= abs(rounded) < _LARGEST:
        return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:.{_DIGITS}g}"
    return f"{rounded:.{_DIGITS}g}"
