"""Making a sweep known to Weights & Biases."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cait_finetune.errors import bad_value


def start(document: dict[str, Any], path: str) -> str:
    """Make the sweep, and return the command that works on it.

    Args:
        path: the file that holds `document`, named if this fails.

    Raises:
        UserError: no one is logged in, or the service does not answer.
    """
    import wandb

    try:
        with _never_asking():
            identity = wandb.sweep(
                document, project=document["project"], entity=document.get("entity")
            )
    except wandb.errors.UsageError as error:
        raise bad_value(
            "sweep.start", f"true, and no login to W&B ({_first_line(error)})", "one that is logged in",
            f"wandb login, then wandb sweep {path}",
        ) from error  # fmt: skip
    except (wandb.errors.Error, OSError, ValueError) as error:
        raise bad_value(
            "sweep.start", f"true, and no answer from W&B ({_first_line(error)})",
            "a service that can be reached", f"later: wandb sweep {path}",
        ) from error  # fmt: skip
    where = [document.get("entity"), document["project"], identity]
    return f"wandb agent {'/'.join(part for part in where if part)}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


@contextmanager
def _never_asking() -> Iterator[None]:
    """W&B asks for a key where it sees a terminal; a command says what is missing and ends."""
    terminal = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = terminal
