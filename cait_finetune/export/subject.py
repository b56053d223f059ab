"""What is exported, and what an export is held against: the same in every format."""

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
class Subject:
    """A trained classifier with what belongs to it.

    ``model`` is in float32, normalised images to logits; ``variant`` its name in the table of
    variants. Probabilities are those of ``logits / temperature``, with `multi_label` one of its own
    for each class. `run`, `weights` and `allow_flip` are those of `Provenance`.
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

    @property
    def provenance(self) -> Provenance:
        """What each file states about itself."""
        return Provenance(
            vars(self.preprocessing),
            tuple(self.class_names),
            self.run,
            self.weights,
            self.allow_flip,
        )

    def probabilities(self, logits: Any) -> np.ndarray:
        """``(B, C)`` of ``(B, C)``."""
        scaled = tf.convert_to_tensor(logits) / self.temperature
        return (tf.sigmoid if self.multi_label else tf.nn.softmax)(scaled).numpy()


@dataclass(frozen=True)
class Evidence:
    """Real images, and what the model says of them as evaluation calls it.

    Args:
        samples: id and file bytes of the validation images to check on.
        labelled: file bytes and label of the validation images to measure accuracy on, each time it
            is called.
    """

    subject: Subject
    samples: Sequence[tuple[str, bytes]]
    labelled: Callable[[], Iterable[tuple[bytes, Any]]] = field(default=tuple)

    @cached_property
    def pixels(self) -> list[np.ndarray]:
        """The samples decoded, ``(h, w, 3)`` uint8 each."""
        decode = self.subject.preprocessing.decode
        return [decode(tf.constant(data)).numpy() for _, data in self.samples]

    @cached_property
    def images(self) -> tf.Tensor:
        """The samples as the model sees them, ``(B, S, S, 3)``."""
        preprocess = self.subject.preprocessing
        return tf.stack([preprocess(tf.constant(image)) for image in self.pixels])

    @cached_property
    def logits(self) -> np.ndarray:
        """What it says of them, ``(B, C)``."""
        return np.asarray(self.subject.model(self.images, training=False))
