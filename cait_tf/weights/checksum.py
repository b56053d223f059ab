"""Compute a checksum of named arrays, to detect a damaged weights file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def checksum(arrays: Mapping[str, np.ndarray], text: str = "") -> str:
    """Return the SHA-256, in hexadecimal, of `text` and each array's name, dtype, shape, bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)  # a bfloat16 array exports no buffer
    return digest.hexdigest()


#: Metadata key of the checksum in our safetensors files.
STATED = "cait_tf.sha256"


def stated_checksum(path: str | Path) -> str | None:
    """Return the checksum that a safetensors file states in its metadata.

    Returns:
        `None`: the file states no checksum, is damaged, or is missing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get(STATED)
    except (SafetensorError, OSError):
        return None
