"""The trained model that every format exports, and the validation images each export is checked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.runs.provenance import Provenance


class Preprocessing(Protocol):
    """How an image is brought to the model: `data.preprocess.Preprocessing`."""

    image_size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_mode: str
    antialias: bool

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """``(h, w, 3)`` uint8 to ``(S, S, 3)`` float32, normalised."""

    def decode(self, data: tf.Tensor) -> tf.Tensor:
        """The bytes of a file to ``(h, w, 3)`` uint8."""


@dataclass(frozen=True)
class ExportedModel:
    """A trained classifier with its preprocessing, class names and provenance.

    ``model`` maps normalised images to logits in float32. ``variant`` is its name in the table of
    variants. Probabilities are the softmax of ``logits / temperature``, or with `multi_label` the
    sigmoid. `Provenance` describes `run`, `weights`,
    `allow_flip` and `seen_images`.
    """

    model: keras.Model
    preprocessing: Preprocessing
    class_names: Sequence[str]
    variant: str
    multi_label: bool = False
    temperature: float = 1.0
    run: str = ""
    weights: str = ""
    allow_flip: bool = True
    seen_images: str = ""

    @property
    def provenance(self) -> Provenance:
        """The provenance that each exported file states."""
        return Provenance(
            vars(self.preprocessing),
            tuple(self.class_names),
            self.run,
            self.weights,
            self.allow_flip,
            self.seen_images,
        )

    def probabilities(self, logits: Any) -> np.ndarray:
        """Calibrated probabilities ``(B, C)`` of logits ``(B, C)``."""
        scaled = tf.convert_to_tensor(logits) / self.temperature
        return (tf.sigmoid if self.multi_label else tf.nn.softmax)(scaled).numpy()


@dataclass(frozen=True)
class ValidationSamples:
    """Real validation images, and the model's outputs on them, computed as evaluation does.

    Args:
        files: id and bytes of the validation images to check on.
        labelled: file bytes and label of the validation images to measure accuracy on, each time it
            is called.
    """

    exported: ExportedModel
    files: Sequence[tuple[str, bytes]]
    labelled: Callable[[], Iterable[tuple[bytes, Any]]] = field(default=tuple)

    @cached_property
    def pixels(self) -> list[np.ndarray]:
        """The samples decoded, ``(h, w, 3)`` uint8 each."""
        decode = self.exported.preprocessing.decode
        return [decode(tf.constant(data)).numpy() for _, data in self.files]

    @cached_property
    def images(self) -> tf.Tensor:
        """The samples as the model sees them, ``(B, S, S, 3)``."""
        preprocess = self.exported.preprocessing
        return tf.stack([preprocess(tf.constant(image)) for image in self.pixels])

    @cached_property
    def logits(self) -> np.ndarray:
        """The model's logits of the samples, ``(B, C)``."""
        return np.asarray(self.exported.model(self.images, training=False))
