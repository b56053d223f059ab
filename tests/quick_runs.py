"""Runs inside the test's process, with reports without figures."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cait_finetune import finetune


@contextlib.contextmanager
def no_figures() -> Iterator[None]:
    """Inside the block, runs draw no figures and write no tables for their reports."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cait_finetune.workflow.finetune.draw_report", lambda *_: None)
        yield


def run(directory: Path, *words: str, figures: bool = False) -> tuple[str, dict]:
    """Fine-tune in this process.

    A warning that a command would print is an error.

    Args:
        figures: draw the report.

    Returns:
        What the run prints, and the contents of its ``result.json``.
    """
    said = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(said))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        for unseen in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
            warnings.simplefilter("ignore", unseen)
        warnings.simplefilter("ignore", ResourceWarning)
        if not figures:
            stack.enter_context(no_figures())
        result = finetune(*words, directory=directory).result
    return said.getvalue(), result
