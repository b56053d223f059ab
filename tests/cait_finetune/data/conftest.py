"""What the tests of the data share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def warnings_shown() -> Iterator[Callable[[], list[str]]]:
    """What was warned of since it was last asked for; also after a run has set up the logger."""
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
