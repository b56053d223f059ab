"""Fixtures of the data tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def warnings_shown() -> Iterator[Callable[[], list[str]]]:
    """Yield a function that returns the warnings since its last call.

    The fixture also records warnings after a run has set up the logger.
    """
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    def shown() -> list[str]:
        told = list(messages)
        messages.clear()
        return told

    ours, kept = logging.getLogger("cait_finetune"), Kept(logging.WARNING)
    ours.addHandler(kept)
    yield shown
    ours.removeHandler(kept)
