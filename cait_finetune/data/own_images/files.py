"""Image files and their labels, as a source beside TFDS: what folders and tables are read into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.own_images import storage
from cait_finetune.data.source import Selection, Source


@dataclasses.dataclass(frozen=True)
class Files:
    """One split: N files in order.

    ``ids`` name them to people, ``labels`` are ``(N,)`` int32, or ``(N, C)`` float32 where an image
    has several; ``weights`` are ``(N,)`` float32, how much each counts in the training loss.
    """

    paths: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, rows: np.ndarray) -> Files:
        """Those files alone, in that order."""
        return Files(
            self.paths[rows],
            self.ids[rows],
            self.labels[rows],
            None if self.weights is None else self.weights[rows],
        )

    def __add__(self, other: Files) -> Files:
        weights = None
        if self.weights is not None:
            weights = np.concatenate([self.weights, other.weights])
        return Files(
            np.concatenate([self.paths, other.paths]),
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.labels, other.labels]),
            weights,
        )


@dataclasses.dataclass(frozen=True)
class FileSource(Source):
    """Image files on a disk, or wherever TensorFlow reads from."""

    name: str = "files"
    files: Mapping[str, Files] = dataclasses.field(default_factory=dict)

    light_records = True

    def records(self, role: str) -> tf.data.Dataset:
        """As `Source.records`; with the ``path`` instead of the bytes."""
        files = self.files[role]
        columns = {
            "id": list(files.ids),
            "path": list(files.paths),
            "label": files.labels,
        }
        if files.weights is not None:
            columns["weight"] = files.weights
        return tf.data.Dataset.from_tensor_slices(columns)

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """As `Source.read`."""
        example = {key: value for key, value in record.items() if key != "path"}
        return {**example, "image": tf.io.read_file(record["path"])}

    def labels(self, role: str) -> np.ndarray:
        """As `Source.labels`."""
        return self.files[role].labels

    def ids(self, role: str) -> np.ndarray:
        """As `Source.ids`: paths as seen from the folder, or as the table has them."""
        return self.files[role].ids

    def select(self, selection: Selection) -> FileSource:
        """As `Source.select`."""
        files = {}
        for role, parts in selection.items():
            first, *others = (self.files[part].rows(np.sort(rows)) for part, rows in parts)
            for other in others:
                first = first + other
            files[role] = first
        sizes = {role: len(one) for role, one in files.items()}
        return dataclasses.replace(self, sizes=sizes, files=files)

    def stamp(self, role: str) -> dict[str, Any]:
        """As `Source.stamp`."""
        files = self.files[role]
        weights = [1.0] * len(files) if files.weights is None else files.weights.tolist()
        stats = [storage.size_and_time(path) for path in files.paths]
        return {
            "set": self.name,
            "examples": len(files),
            "files": [
                [path, np.asarray(label).tolist(), weight, *stat]
                for path, label, weight, stat in zip(
                    files.paths, files.labels, weights, stats, strict=True
                )
            ],
        }
