"""Classify files batch by batch. A file that is not an image gets an error and stops nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from cait_finetune.data.refusal import refusal
from cait_finetune.data.tiff import is_tiff, to_npy
from cait_finetune.inference.backends import Backend
from cait_finetune.inference.prediction import Answer, Number, Prediction
from cait_tf.label_groups import LabelGroup, label_groups

_SIGNATURE = 12  # bytes that identify the format of an image file


def classify(
    backend: Backend, files: Sequence[Path], top_k: int, batch_size: int, bands: bool = False
) -> Iterator[list[Prediction]]:
    """Yield the predictions of each batch: one prediction per file, in the order of the files.

    Args:
        top_k: number of classes per prediction.
        batch_size: files per batch.
        bands: images have another number of channels than 3, and may be TIFF.
    """
    for start in range(0, len(files), batch_size):
        batch = [_read(path, bands) for path in files[start : start + batch_size]]
        done = iter(_classify(backend, [one for one in batch if not one.error], top_k))
        yield [Prediction(one.path, error=one.error) if one.error else next(done) for one in batch]


@dataclass(frozen=True)
class _File:
    path: Path
    data: bytes = b""
    error: str = ""


def _read(path: Path, bands: bool) -> _File:
    try:
        data = path.read_bytes()
        return _File(path, to_npy(data) if bands and is_tiff(data) else data)
    except OSError as error:
        return _File(path, error=f"cannot be read ({error.strerror})")
    except ValueError as error:
        return _File(path, error=f"not an image ({error})")


def _classify(backend: Backend, files: Sequence[_File], top_k: int) -> list[Prediction]:
    if not files:
        return []
    try:
        values = backend([file.data for file in files])  # (B, C) or (B, T, 1 or 3)
    except tf.errors.InvalidArgumentError as error:
        if len(files) == 1:
            return [Prediction(files[0].path, error=f"not an image ({_reason(files[0], error)})")]
        return [one for file in files for one in _classify(backend, [file], top_k)]
    if values.ndim == 3:
        return [
            Prediction(
                file.path,
                numbers=tuple(
                    Number(name, *map(float, one))
                    for name, one in zip(backend.class_names, row, strict=True)
                ),
            )
            for file, row in zip(files, values, strict=True)
        ]
    if backend.several:
        groups = label_groups(backend.class_names)
        return [
            Prediction(file.path, answers=tuple(_answer(group, row) for group in groups))
            for file, row in zip(files, values, strict=True)
        ]
    probabilities = values
    order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top_k]  # (B, k)
    return [
        Prediction(
            file.path, tuple((backend.class_names[index], float(row[index])) for index in best)
        )
        for file, row, best in zip(files, probabilities, order, strict=True)
    ]


def _answer(group: LabelGroup, row: np.ndarray) -> Answer:
    """Return the most probable class of a label from the probabilities ``(C,)`` of an image."""
    own = row[group.columns]
    best = int(own.argmax())
    return Answer(group.name, group.classes[best], float(own[best]))


def _reason(file: _File, error: tf.errors.InvalidArgumentError) -> str:
    if len(file.data) < _SIGNATURE:
        return f"{len(file.data)} bytes"
    return refusal(error)
