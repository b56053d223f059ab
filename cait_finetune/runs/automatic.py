"""The settings that a run computed from its training images, as the configuration said them.

``config.yaml`` holds the numbers, so that later commands need no training images. Two runs with the same
configuration can have different numbers, because a fold or a seed divides the images anew.
"""

from __future__ import annotations

from typing import Any

from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.run_id import read_identity

#: Key of the settings in ``identity.json``.
KEY = "automatic"


def as_said(run: RunDirectory) -> dict[str, Any]:
    """Return the configured value of each computed setting: ``{"preprocessing.mean": "auto"}``.

    Raises:
        UserError: ``identity.json`` cannot be read.
    """
    return read_identity(run).get(KEY, {})
