"""Image files and their labels, as a source beside TFDS: what folders and tables are read into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.image_files import storage
from cait_finetune.data.source import Selection, Source, new_numbers, renumbered


@dataclasses.dataclass(frozen=True)
class Files:
    """One split: N files in order.

    ``ids`` name them to people, ``labels`` are ``(N,)`` int32, or ``(N, C)`` float32 where an image
    has several; ``weights`` are ``(N,)`` float32, how much each counts in the training loss.
    ``content_hashes`` are ``(N,)`` int64; `None` for files that nobody opened.
    """

    paths: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None
    content_hashes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, rows: np.ndarray) -> Files:
        """Those files alone, in that order."""
        return Files(*(column if column is None else column[rows] for column in self._columns()))

    def __add__(self, other: Files) -> Files:
        pairs = zip(self._columns(), other._columns(), strict=True)
        return Files(*(None if a is None else np.concatenate([a, b]) for a, b in pairs))

    def _columns(self) -> list[np.ndarray | None]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


@dataclasses.dataclass(frozen=True)
class FileSource(Source):
    """Image files on a disk, or wherever TensorFlow reads from."""

    name: str = "files"
    files: Mapping[str, Files] = dataclasses.field(default_factory=dict)

    hash_kind = "sha1"
    light_records = True

    def records(self, split: str) -> tf.data.Dataset:
        """As `Source.records`; with the ``path`` instead of the bytes."""
        files = self.files[split]
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

    def labels(self, split: str) -> np.ndarray:
        """As `Source.labels`."""
        return self.files[split].labels

    def ids(self, split: str) -> np.ndarray:
        """As `Source.ids`: paths as seen from the folder, or as the table has them."""
        return self.files[split].ids

    def weights(self, split: str) -> np.ndarray | None:
        """As `Source.weights`."""
        return self.files[split].weights

    def content_hashes(self, split: str) -> np.ndarray | None:
        """As `Source.content_hashes`; `None` with ``dataset.check=false``."""
        return self.files[split].content_hashes

    def select(self, selection: Selection) -> FileSource:
        """As `Source.select`."""
        files = {}
        for split, parts in selection.items():
            first, *others = (self.files[part].rows(np.sort(rows)) for part, rows in parts)
            for other in others:
                first = first + other
            files[split] = first
        sizes = {split: len(one) for split, one in files.items()}
        return dataclasses.replace(self, sizes=sizes, files=files)

    def in_order(self, class_names: Sequence[str]) -> FileSource:
        """As `Source.in_order`."""
        numbers = new_numbers(self.class_names, class_names)
        files = {
            split: dataclasses.replace(one, labels=renumbered(one.labels, numbers))
            for split, one in self.files.items()
        }
        return dataclasses.replace(self, class_names=tuple(class_names), files=files)

    def stamp(self, split: str) -> dict[str, Any]:
        """As `Source.stamp`."""
        files = self.files[split]
        return {
            "set": self.name,
            "classes": list(self.class_names),
            "examples": len(files),
            "ids": files.ids.tolist(),
            "labels": files.labels.tolist(),
            "weights": None if files.weights is None else files.weights.tolist(),
            "files": [[path, *storage.size_and_times(path)] for path in files.paths],
        }
