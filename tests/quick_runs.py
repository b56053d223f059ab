"""Runs inside the test's process: a small model to trace, and reports without figures.

Each run traces its own training step, so the number of blocks decides how long a short run takes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import cait_tf
from cait_finetune import finetune

#: A CaiT of one block of each kind, with two heads and four patches.
SMALL = dataclasses.replace(
    cait_tf.VARIANTS["cait_nano_32"],
    name="cait_nano_16",
    image_size=16,
    patch_size=8,
    embed_dim=16,
    depth=1,
    depth_token_only=1,
    shipped=False,
)


@contextlib.contextmanager
def small_variant() -> Iterator[str]:
    """Register `SMALL` inside the block, and yield its name."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cait_tf.variants.VARIANTS", {**cait_tf.VARIANTS, SMALL.name: SMALL})
        yield SMALL.name


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
