"""The trained model that every format exports, and the validation images for the parity check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.runs.provenance import Provenance
from cait_finetune.scores.postprocessing import Postprocessing
from cait_finetune.scores.probabilities import PLAIN_SOFTMAX


class Preprocessing(Protocol):
    """The attributes of `data.preprocess.Preprocessing` that the exports use."""

    image_size: tuple[int, int]
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_mode: str
    antialias: bool

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """Resize and normalise an image: ``(h, w, 3)`` uint8 to ``(H, W, 3)`` float32."""

    def decode(self, data: tf.Tensor) -> tf.Tensor:
        """Decode the bytes of an image file to ``(h, w, 3)`` uint8."""


@dataclass(frozen=True)
class ExportedModel:
    """A trained classifier with its preprocessing, class names and provenance.

    ``model`` maps normalised images to float32 logits. ``variant`` is the model's name in the table of
    variants. `postprocessing` turns logits into probabilities. `Provenance` documents `run`, `weights`,
    `allow_flip` and `seen_images`.
    """

    model: keras.Model
    preprocessing: Preprocessing
    class_names: Sequence[str]
    variant: str
    postprocessing: Postprocessing = PLAIN_SOFTMAX
    run: str = ""
    weights: str = ""
    allow_flip: bool = True
    seen_images: str = ""

    @property
    def provenance(self) -> Provenance:
        """The provenance that each exported file contains."""
        return Provenance(
            vars(self.preprocessing),
            tuple(self.class_names),
            self.run,
            self.weights,
            self.allow_flip,
            self.seen_images,
        )

    def values(self, logits: Any) -> np.ndarray:
        """Return the values ``(B, C)`` of `postprocessing` for outputs ``(B, C)``."""
        return self.postprocessing.tensor(tf.convert_to_tensor(logits)).numpy()


@dataclass(frozen=True)
class ValidationSamples:
    """Validation images for the parity check, and the model's outputs on them.

    Args:
        exported: the model.
        files: id and file bytes of the images for the parity check.
        labelled: returns file bytes and label of each image for the accuracy measurement. Each call
            starts again at the first image.
    """

    exported: ExportedModel
    files: Sequence[tuple[str, bytes]]
    labelled: Callable[[], Iterable[tuple[bytes, Any]]] = field(default=tuple)

    @cached_property
    def pixels(self) -> list[np.ndarray]:
        """The decoded images of `files`, each ``(h, w, 3)`` uint8."""
        decode = self.exported.preprocessing.decode
        return [decode(tf.constant(data)).numpy() for _, data in self.files]

    @cached_property
    def images(self) -> tf.Tensor:
        """The preprocessed images of `files`, ``(B, H, W, 3)`` float32."""
        preprocess = self.exported.preprocessing
        return tf.stack([preprocess(tf.constant(image)) for image in self.pixels])

    @cached_property
    def logits(self) -> np.ndarray:
        """The model's logits for `images`, ``(B, C)``."""
        return np.asarray(self.exported.model(self.images, training=False))
