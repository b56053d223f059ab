"""Create a sweep at Weights & Biases."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cait_finetune.errors import bad_value


def start(document: dict[str, Any], path: str) -> str:
    """Create the sweep, and return the command that starts an agent for it.

    Args:
        document: content of the sweep file.
        path: path of the sweep file, for messages.

    Raises:
        UserError: the user is not logged in to W&B, or the service does not answer.
    """
    import wandb

    try:
        with _never_asking():
            identity = wandb.sweep(
                document, project=document["project"], entity=document.get("entity")
            )
    except wandb.errors.UsageError as error:
        raise bad_value(
            "sweep.start", f"true, and no login to W&B ({_first_line(error)})", "a login to W&B",
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
    """Hide the terminal inside the block.

    On a terminal, W&B would ask for an API key. The command reports the missing login instead.
    """
    terminal = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = terminal
