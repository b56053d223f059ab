"""The id of a run, which its identity, its states and its weights carry.

Two runs may have the same data and the same classes, but other weights, seeds or losses. The id tells
their files apart. A copy of a run's directory keeps the id.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.directory import RunDirectory

#: The id's key in ``identity.json`` and in the metadata of weights.
KEY = "run"


def new_run_id() -> str:
    """Draw the id of a run that begins; no seed determines it."""
    return uuid.uuid4().hex


def run_id(run: RunDirectory) -> str:
    """The id in ``identity.json``; an empty string where the run's version kept none.

    Raises:
        UserError: ``identity.json`` cannot be read.
    """
    return str(read_identity(run).get(KEY, ""))


def check_run_id(run: RunDirectory, key: str, what: str, found: str) -> None:
    """Check that a file of a run's directory is of the run.

    Args:
        key: the key that the message begins with.
        what: the file, as the message names it.
        found: the id in the file; an empty one is of a version that kept none.

    Raises:
        UserError: the file is another run's. Without ``identity.json`` there is nothing to compare.
    """
    if found and run.identity.exists() and found != run_id(run):
        raise bad_value(
            key,
            f"{what} of another run than {run.identity}",
            "the files of one run",
            "Restore the run's own files",
        )


def check_weights_id(run: RunDirectory, key: str, *paths: Path) -> None:
    """Check that weights in a run's directory are of the run; missing and damaged files pass.

    Args:
        key: the key that the message begins with.
        paths: safetensors files.

    Raises:
        UserError: a file is another run's.
    """
    for path in paths:
        check_run_id(run, key, str(path), _stated_id(path))


def read_identity(run: RunDirectory) -> dict[str, Any]:
    """What ``identity.json`` holds; nothing where there is no file.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    if not run.identity.exists():
        return {}
    try:
        kept = json.loads(run.identity.read_bytes())
        if not isinstance(kept, dict):
            raise TypeError(f"it holds a {type(kept).__name__}")
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(run, error) from error
    return kept


def unreadable(run: RunDirectory, error: Exception) -> UserError:
    """The refusal of an ``identity.json`` that cannot be read.

    Its hint does not say to remove the file: the run has to know its data.
    """
    return bad_value(
        run.identity.name,
        f"{run.identity} ({type(error).__name__}: {error})",
        "the identity of a run as it was written",
        "Restore the file",
    )


def _stated_id(path: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get(KEY, "")
    except (SafetensorError, OSError):
        return ""
