"""Cache features on disk: one file per split and per set of facts that the features depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from cait_tf.atomic import atomic_open

logger = logging.getLogger(__name__)

_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Features:
    """Features and labels of a split, in file order.

    Attributes:
        values: (N, D) float32.
        labels: (N,) int32, or (N, C) or (N, T) float32.
        corrupt: ids of the images that are left out.
    """

    values: np.ndarray
    labels: np.ndarray
    corrupt: tuple[str, ...] = ()


class FeatureCache:
    """A directory of ``NAME-HASH.npz`` files. You can delete the files at any time.

    A file states its name, so that it is not used under the name of another file.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str, facts: dict[str, Any]) -> Path:
        """Return the file of features that depend on `facts`. Other facts give another file."""
        text = json.dumps({**facts, "format": _FORMAT}, sort_keys=True)
        return self.directory / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"

    def load(self, path: Path) -> Features | None:
        """Load the features of a file.

        Returns:
            `None`: the file does not exist, or, with a warning, cannot be read or is a copy of
            another file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                values, labels = file["values"], file["labels"]
                corrupt = tuple(str(name) for name in file["corrupt"])
                stated = str(file["name"])
            if stated != path.name:
                raise ValueError(f"it is a copy of {stated}")
            if values.ndim != 2 or labels.shape[:1] != values.shape[:1]:
                raise ValueError(f"{values.shape} features for {labels.shape} labels")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning("%s cannot be read (%s): its features are computed anew", path, error)
            return None
        return Features(values, labels, corrupt)

    def save(self, path: Path, features: Features) -> bool:
        """Write the features atomically, and return whether the file was written.

        A failure is only a warning, because the run already has its features.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with atomic_open(path, "wb") as file:
                np.savez(
                    file,
                    values=features.values,
                    labels=features.labels,
                    corrupt=np.array(features.corrupt, dtype=np.str_),
                    name=np.array(path.name),
                )
        except OSError as error:
            logger.warning("%s cannot be written (%s): its features are not cached", path, error)
            return False
        return True
