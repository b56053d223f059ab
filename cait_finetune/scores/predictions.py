"""A model's predictions for a split. All metrics and plots after training are computed from them."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.errors import bad_value
from cait_tf.atomic import atomic_open
from cait_tf.fused.tensorflow import infer

#: Maximum size of the logits before compression. `Predictions.save` does not write larger logits,
#: such as those of ImageNet validation.
MAX_BYTES = 100_000_000


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The logits and labels of a split's images, in file order.

    Attributes:
        logits: ``(N, C)`` float32.
        labels: ``(N,)`` int32; ``(N, C)`` float32 for images with any number of classes.
        ids: names of the images.
        class_names: names of the columns.
        weights: checksum of the weights file that gave the logits. `None`: unknown.
        images: hash of the split's ids, labels and contents. `None`: unknown.
    """

    logits: np.ndarray
    labels: np.ndarray
    ids: Sequence[str]
    class_names: Sequence[str]
    weights: str | None = None
    images: str | None = None

    def batches(self, size: int) -> Iterator[tuple[tf.Tensor, ...]]:
        """Yield batches ``(logits, labels, real)`` of `size` rows. `real` is false for padding."""
        for start in range(0, len(self.logits), size):
            parts = (self.logits[start : start + size], self.labels[start : start + size])
            missing = size - len(parts[0])
            filled = (np.pad(one, [(0, missing)] + [(0, 0)] * (one.ndim - 1)) for one in parts)
            yield *map(tf.constant, filled), tf.constant(np.arange(size) < len(parts[0]))

    def save(self, path: Path) -> bool:
        """Write a compressed ``.npz`` and return `True`. Return `False` for logits above `MAX_BYTES`."""
        if self.logits.nbytes > MAX_BYTES:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(path, "wb") as file:
            np.savez_compressed(
                file,
                logits=self.logits,
                labels=self.labels,
                ids=np.array(self.ids, np.str_),
                class_names=np.array(self.class_names, np.str_),
                weights=np.array(self.weights or ""),
                images=np.array(self.images or ""),
            )
        return True


def load_predictions(path: Path) -> Predictions:
    """Load the file that `Predictions.save` wrote.

    Raises:
        UserError: the file is damaged or missing, or the shapes of its arrays do not match.
    """
    why = "the shapes of its arrays do not match"
    try:
        with np.load(path) as arrays:
            found = [arrays[name] for name in ("logits", "labels", "ids", "class_names")]
            marks = [str(arrays[key]) if key in arrays else "" for key in ("weights", "images")]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        found, why = None, str(error)
    if not (found and _fit(*found)):
        raise bad_value(
            "predictions",
            f"{path} ({why})",
            "logits, labels, ids, class names",
            "remove the file",
        )
    logits, labels, ids, class_names = found
    return Predictions(
        logits, labels, ids.tolist(), class_names.tolist(), *(mark or None for mark in marks)
    )


def _fit(logits: np.ndarray, labels: np.ndarray, ids: np.ndarray, class_names: np.ndarray) -> bool:
    """Return whether the shapes match `Predictions` and single labels are valid columns."""
    if ids.ndim != 1 or class_names.ndim != 1:
        return False
    shape = (len(ids), len(class_names))
    if labels.ndim == 2:
        return logits.shape == labels.shape == shape
    columns = np.isin(labels, np.arange(len(class_names)))
    return logits.shape == shape and labels.shape == shape[:1] and bool(columns.all())


class Predictor:
    """Predict several splits with one trace."""

    def __init__(self, model: keras.Model) -> None:
        self._logits = tf.function(lambda images: infer(model, images), autograph=False)

    def __call__(self, batches: Iterable) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and labels of the real images in batches ``(images, labels, real)``."""
        logits, labels = [], []
        for images, truth, real in batches:
            kept = real.numpy()
            logits.append(self._logits(images).numpy()[kept])
            labels.append(truth.numpy()[kept])
        return np.concatenate(logits), np.concatenate(labels)
