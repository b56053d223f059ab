"""Expand ``~`` in paths that a user writes, and find the folders of our YAML files."""

from __future__ import annotations

import os
from pathlib import Path

from cait_finetune.errors import UserError
from cait_tf.places import NoHome
from cait_tf.places import expanded as expanded_or_refused

_PACKAGE = Path(__file__).resolve().parents[1]


def expanded(key: str, path: str | os.PathLike[str]) -> str:
    """Return the path with ``~`` expanded by `cait_tf.places.expanded`.

    Raises:
        UserError: the path begins with ``~``, and there is no home directory.
    """
    try:
        return expanded_or_refused(key, path)
    except NoHome as error:
        raise UserError(str(error)) from error


def expanded_path(key: str, path: str | os.PathLike[str]) -> Path:
    """Return `expanded` as a `Path`, for a path on a disk."""
    return Path(expanded(key, path))


def data_folder(name: str) -> Path:
    """Return the folder ``conf`` or ``recipes``: in the package, or beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
