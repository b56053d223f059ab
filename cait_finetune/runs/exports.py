"""Which weights an export was made from: those of a run's checkpoint, or of an earlier one."""

from __future__ import annotations

import json
from pathlib import Path

from cait_tf.weights.checksum import stated_checksum

#: Key of a format's record in ``exports.json``.
WEIGHTS = "weights"
#: Key of a format's record in ``exports.json``: the fingerprint of the data that the run is of.
DATA = "data"


def weights_mark(checkpoint: Path) -> str | None:
    """The checksum that a weights file states of itself; None where it states none or is damaged."""
    return stated_checksum(checkpoint)


def is_current(name: str, exports: Path, checkpoint: Path) -> bool:
    """Whether ``exports.json`` says that the format `name` was made from the weights in `checkpoint`.

    True, too, where these cannot be told: then there is nothing better than the export.
    """
    mark = weights_mark(checkpoint)
    if mark is None:
        return True
    try:
        return json.loads(exports.read_text(encoding="utf-8"))[name][WEIGHTS] == mark
    except (OSError, ValueError, KeyError, TypeError):
        return False
