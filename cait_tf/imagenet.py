"""The 1000 classes of ImageNet-1k, in the order of the published heads."""

from __future__ import annotations

import functools
from pathlib import Path

_FILE = Path(__file__).with_name("imagenet_classes.txt")


@functools.cache
def synsets() -> tuple[str, ...]:
    """Return WordNet's identifiers, such as ``n01440764``. They are the dataset's folder names."""
    return tuple(line.partition(" ")[0] for line in _FILE.read_text(encoding="utf-8").splitlines())


@functools.cache
def class_names() -> tuple[str, ...]:
    """Return WordNet's words for each class, such as ``tench, Tinca tinca``."""
    return tuple(line.partition(" ")[2] for line in _FILE.read_text(encoding="utf-8").splitlines())
