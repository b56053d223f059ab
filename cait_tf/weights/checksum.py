"""A checksum of arrays by name: whether a file still holds the numbers that were written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def checksum(arrays: Mapping[str, np.ndarray], text: str = "") -> str:
    """SHA-256, in hexadecimal, over a text and every array's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)  # bfloat16 has no buffer of its own
    return digest.hexdigest()


#: Metadata key of the checksum in safetensors files of ours.
STATED = "cait_tf.sha256"


def stated_checksum(path: str | Path) -> str | None:
    """The checksum that a safetensors file states of itself.

    Returns:
        `None`: the file states none, is damaged or missing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get(STATED)
    except (SafetensorError, OSError):
        return None
