"""Suggest a run in messages about a directory that holds no run."""

from __future__ import annotations

import difflib
from pathlib import Path

from cait_finetune.config.advice import advise
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import UserError, bad_value


def no_run(key: str, got: str | Path, expected: str) -> UserError:
    """Return the error for a directory that holds no run. The message suggests a run.

    The suggestion is the first of these that exists: the run that contains the directory; a run
    with a similar name beside a missing directory; the newest run in the directory; the newest run
    beside the directory or in ``outputs/``.

    Args:
        key: the key that named the directory.
        got: the directory, as the user wrote it.
        expected: what the directory should be, such as ``the directory of a run``.
    """
    directory = expanded_path(key, got).absolute()
    shown = got if directory.exists() else f"{got}, which does not exist"
    return bad_value(key, shown, expected, _other_run(key, directory))


def _other_run(key: str, directory: Path) -> str:
    if (directory / "config.yaml").is_file():
        return ""  # a run that lacks another file
    for above in directory.parents:
        if (above / "config.yaml").is_file():
            return f"Write {advise(key, above)}"
    beside = [one.parent for one in directory.parent.glob("*/config.yaml")]
    near = difflib.get_close_matches(directory.name, [one.name for one in beside], 1)
    if near and not directory.exists():
        return f"did you mean {advise(key, _short(directory.parent / near[0]))}?"
    inside = [one.parent for one in directory.glob("*/config.yaml")]
    ours = [one.parent for one in Path("outputs").absolute().glob("*/*/*/config.yaml")]
    begun = inside or [*beside, *ours]
    newest = max(begun, key=lambda run: (run / "config.yaml").stat().st_mtime, default=None)
    return f"The newest run is {advise(key, _short(newest))}" if newest else ""


def _short(path: Path) -> Path:
    """Return the path, relative to the working directory if the path is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
