"""The id of a run. The run's ``identity.json``, states and weights contain it.

Two runs may have the same data and classes, but different weights, seeds or losses. The id
distinguishes their files. A copy of a run's directory keeps the id.
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
    """Return a random id for a new run. The id does not depend on a seed."""
    return uuid.uuid4().hex


def run_id(run: RunDirectory) -> str:
    """Return the id in ``identity.json``, or an empty string if the file or the id is missing.

    Raises:
        UserError: ``identity.json`` cannot be read.
    """
    return str(read_identity(run).get(KEY, ""))


def check_run_id(run: RunDirectory, key: str, what: str, found: str) -> None:
    """Check that a file in a run's directory belongs to the run.

    A file passes if it has no id or if the run has no ``identity.json``.

    Args:
        key: the key at the start of the message.
        what: the name of the file in the message.
        found: the id in the file. Empty: an earlier version stored none.

    Raises:
        UserError: the file belongs to another run, or ``identity.json`` cannot be read.
    """
    if found and run.identity.exists() and found != run_id(run):
        raise bad_value(
            key,
            f"{what} of another run than {run.identity}",
            "the files of one run",
            "Restore the run's own files",
        )


def check_weights_id(run: RunDirectory, key: str, *paths: Path) -> None:
    """Check that weights in a run's directory belong to the run. Missing and damaged files pass.

    Weights without an id pass only if the run has none either, as in runs of earlier versions.

    Args:
        key: the key at the start of the message.
        paths: safetensors files.

    Raises:
        UserError: a file belongs to another run or does not state its run, or ``identity.json`` cannot
            be read.
    """
    for path in paths:
        found = _stated_id(path)
        if found == "" and run_id(run):
            raise bad_value(
                key,
                f"{path}, which does not state its run",
                "the weights that the run saved",
                "Restore the run's own file, or give this one as model.weights",
            )
        check_run_id(run, key, str(path), found or "")


def read_identity(run: RunDirectory) -> dict[str, Any]:
    """Return the content of ``identity.json``, or an empty dictionary if the file does not exist.

    Raises:
        UserError: the file cannot be read, or does not hold a JSON object.
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
    """Return the error for an ``identity.json`` that cannot be read.

    The hint does not suggest removing the file, because the run needs the record of its data.
    """
    return bad_value(
        run.identity.name,
        f"{run.identity} ({type(error).__name__}: {error})",
        "the identity of a run as it was written",
        "Restore the file",
    )


def _stated_id(path: Path) -> str | None:
    """Return the id in a weights file. Empty: it has none. `None`: it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get(KEY, "")
    except (SafetensorError, OSError):
        return None
