"""A source of image files and their labels, as folders and tables list them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.image_files import storage
from cait_finetune.data.source import Selection, Source, new_numbers, renumbered
from cait_finetune.data.tiff import without_tiff


@dataclasses.dataclass(frozen=True)
class Files:
    """N image files in order.

    Attributes:
        paths: ``(N,)`` object array of str.
        ids: ``(N,)`` object array of str, the paths relative to the folder, or as the table lists them.
        labels: ``(N, …)``, the label of each image.
        weights: ``(N,)`` float32, the weight of each image in the training loss. `None`: no weights.
        content_hashes: ``(N,)`` int64. `None`: the files were not read.
    """

    paths: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None
    content_hashes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, rows: np.ndarray) -> Files:
        """Return the files of `rows`, in the order of `rows`."""
        return Files(*(column if column is None else column[rows] for column in self._columns()))

    def __add__(self, other: Files) -> Files:
        pairs = zip(self._columns(), other._columns(), strict=True)
        return Files(*(None if a is None else np.concatenate([a, b]) for a, b in pairs))

    def _columns(self) -> list[np.ndarray | None]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]


@dataclasses.dataclass(frozen=True)
class FileSource(Source):
    """Image files on a disk, or in any other storage that TensorFlow reads."""

    name: str = "files"
    bands: bool = False  # images have another number of channels than 3, and may be TIFF
    files: Mapping[str, Files] = dataclasses.field(default_factory=dict)

    hash_kind: str = "sha1"
    light_records = True

    def records(self, split: str) -> tf.data.Dataset:
        """As `Source.records`. Each record has the ``path`` of its image."""
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
        data = tf.io.read_file(record["path"])
        return {**example, "image": without_tiff(data) if self.bands else data}

    def labels(self, split: str) -> np.ndarray:
        """As `Source.labels`."""
        return self.files[split].labels

    def ids(self, split: str) -> np.ndarray:
        """As `Source.ids`: paths relative to the folder, or as the table lists them."""
        return self.files[split].ids

    def weights(self, split: str) -> np.ndarray | None:
        """As `Source.weights`."""
        return self.files[split].weights

    def content_hashes(self, split: str) -> np.ndarray | None:
        """As `Source.content_hashes`. `None` with ``dataset.check=false``."""
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
        return dataclasses.replace(
            self,
            class_names=tuple(class_names),
            target=self.target.named(class_names),
            files=files,
        )

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
