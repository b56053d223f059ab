"""Index the ids, labels and content hashes of a TFDS split, and cache the index for the user."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.runtime.progress import progress_bar
from cait_tf.atomic import atomic_open
from cait_tf.places import caches, warn_not_kept

logger = logging.getLogger(__name__)

_FORMAT = 2
_AT_A_TIME = 1024  # examples


@dataclasses.dataclass(frozen=True)
class LabelIndex:
    """Ids, content hashes and labels of N examples, in the order of reading.

    Attributes:
        ids: ``(N,)`` bytes.
        content_hashes: ``(N,)`` int64.
        labels: the labels that the set stores: ``(N,)`` int64, ``(N, A)`` bool for attributes, or
            ``(N, T)`` float32 for numbers.
            For examples with a list of labels, ``(M,)`` int64: all lists, concatenated.
        counts: ``(N,)``: length of each example's list. `None`: the labels are not lists.
    """

    ids: np.ndarray
    content_hashes: np.ndarray
    labels: np.ndarray
    counts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def example_of_label(self) -> np.ndarray:
        """Return for each entry of `labels` the row of its example."""
        rows = np.arange(len(self))
        return rows if self.counts is None else np.repeat(rows, self.counts)

    def rows(self, rows: np.ndarray) -> LabelIndex:
        """Return the index of the examples in `rows`, in the order of `rows`."""
        if self.counts is None:
            return LabelIndex(self.ids[rows], self.content_hashes[rows], self.labels[rows])
        lists = np.split(self.labels, np.cumsum(self.counts)[:-1])
        chosen = [lists[row] for row in rows]
        return LabelIndex(
            self.ids[rows], self.content_hashes[rows], np.concatenate(chosen), self.counts[rows]
        )

    def __add__(self, other: LabelIndex) -> LabelIndex:
        counts = None
        if self.counts is not None:
            counts = np.concatenate([self.counts, other.counts])
        return LabelIndex(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.content_hashes, other.content_hashes]),
            np.concatenate([self.labels, other.labels]),
            counts,
        )


def read_index(examples: tf.data.Dataset, size: int, words: str) -> LabelIndex:
    """Read the index of all examples, with a progress bar on a terminal.

    Args:
        examples: dictionaries with ``id``, ``content_hash`` and ``label``. The label is () or (n,)
            int64, (A,) bool, or (T,) float32.
        size: number of examples.
        words: label of the progress bar.
    """
    ids, hashes, labels, counts = [], [], [], []
    with progress_bar(words, size) as advance:
        for batch in examples.ragged_batch(_AT_A_TIME):
            ids.append(batch["id"].numpy())
            hashes.append(batch["content_hash"].numpy())
            label = batch["label"]
            if isinstance(label, tf.RaggedTensor):
                counts.append(label.row_lengths().numpy())
                label = label.values
            labels.append(label.numpy())
            advance(len(ids[-1]))
    return LabelIndex(
        np.concatenate(ids).astype("S"),
        np.concatenate(hashes),
        np.concatenate(labels),
        np.concatenate(counts) if counts else None,
    )


def content_hash(image: tf.Tensor) -> tf.Tensor:
    """Hash the bytes of an image, () string, to () int64. Every machine computes the same hash."""
    return tf.strings.to_hash_bucket_fast(image, 2**63 - 1)


def kept_index(name: str, facts: dict[str, Any], read: Callable[[], LabelIndex]) -> LabelIndex:
    """Return the index from the user's cache, or read the index and cache it.

    If the cache cannot be read or written, `read` is called in each run.

    Args:
        name: beginning of the file's name.
        facts: everything that the index depends on. Other facts give another file.
        read: reads the index from the set.
    """
    text = json.dumps({**facts, "format": _FORMAT}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    directory = cache_directory()
    if directory is None:
        warn_not_kept()
        return read()
    path = directory / f"{re.sub('[^a-zA-Z0-9_.-]', '-', name)}-{digest}.npz"
    index = _load(path)
    if index is None:
        index = read()
        _save(path, index)
    return index


def cache_directory() -> Path | None:
    """Return ``cait_finetune/labels`` in the user's caches; `None`: no cache directory exists."""
    root = caches()
    return root / "cait_finetune" / "labels" if root else None


def _load(path: Path) -> LabelIndex | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            counts = file.get("counts")
            index = LabelIndex(file["ids"], file["content_hashes"], file["labels"], counts)
            if str(file["name"]) != path.name:
                raise ValueError("it is a copy of another file")
        each = index.labels if counts is None else counts
        if not len(index) == len(index.content_hashes) == len(each) or (
            counts is not None and counts.sum() != len(index.labels)
        ):
            raise ValueError("rows are missing")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.debug("%s is read anew: %s", path, error)
        return None
    return index


def _save(path: Path, index: LabelIndex) -> None:
    columns = {
        "ids": index.ids,
        "content_hashes": index.content_hashes,
        "labels": index.labels,
        "name": np.array(path.name),
    }
    if index.counts is not None:
        columns["counts"] = index.counts
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(path, "wb") as file:
            np.savez_compressed(file, **columns)
    except OSError as error:
        warn_not_kept(error)
