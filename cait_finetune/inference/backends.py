"""The kinds of models that classify files: each takes their bytes and gives probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from cait_finetune import model as models
from cait_finetune.errors import bad_value
from cait_finetune.inference.portable import damaged
from cait_finetune.runs.provenance import Provenance, read_provenance
from cait_finetune.runs.saved import SavedRun


class Backend(Protocol):
    """Classifies image files; ``class_names`` are in the order of its probabilities.

    ``provenance`` is what the model states about itself; `None`: nothing, or a run has it.
    """

    class_names: Sequence[str]
    provenance: Provenance | None

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """The bytes of B files to probabilities ``(B, C)``.

        Raises:
            tf.errors.InvalidArgumentError: one of them is no image.
        """


class SavedModel:
    """A SavedModel of this project: decoding, preprocessing and class names are inside.

    Raises:
        UserError: it is of another kind, or damaged.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._loaded = tf.saved_model.load(str(directory))  # which owns the variables
        except Exception as error:  # of half a file it may be any kind
            raise damaged(directory, "a SavedModel that is whole", error) from error
        signatures = self._loaded.signatures
        self._serve = signatures.get("serving_default")
        inputs = self._serve.structured_input_signature[1] if self._serve else {}
        if "image_bytes" not in inputs or not hasattr(self._loaded, "labels"):
            raise bad_value(
                "model",
                f"{directory}, whose signatures are {', '.join(sorted(signatures)) or 'none'}",
                "a SavedModel of a run, which takes image_bytes and names its classes",
            )
        self.class_names = [name.decode() for name in self._loaded.labels().numpy()]
        self.provenance = read_provenance(directory)

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """As `Backend`."""
        return self._serve(image_bytes=tf.constant(list(files)))["probabilities"].numpy()


class Checkpoint:
    """The best weights of a run, where it exported nothing.

    Its probabilities are calibrated by the ``temperature`` in the run's result, if it has one.
    """

    def __init__(self, run: SavedRun) -> None:
        self.class_names = run.class_names
        self.provenance = None
        self._model = run.build_model(self.class_names)
        self._preprocessing = run.build_preprocessing()
        self._see = tf.function(
            lambda data: self._preprocessing(self._preprocessing.decode(data)),
            input_signature=[tf.TensorSpec((), tf.string)],
            autograph=False,
        )
        self._temperature = run.temperature
        self._probabilities = tf.sigmoid if run.dataset.multi_label else tf.nn.softmax

    @tf.function(reduce_retracing=True, autograph=False)
    def _classify(self, images: tf.Tensor) -> tf.Tensor:
        logits = self._model(images, training=False)  # (B, C)
        return self._probabilities(logits / self._temperature)

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """As `Backend`."""
        return self._classify(self._seen(files)).numpy()

    def saliency(self, files: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """What the model sees of each file ``(B, S, S, 3)``, and its class saliency map
        ``(B, S, S)``, both from 0 to 1."""
        images = self._seen(files).numpy()
        return self._preprocessing.denormalise(images), models.saliency(self._model, images)

    def _seen(self, files: Sequence[bytes]) -> tf.Tensor:
        return tf.stack([self._see(data) for data in files])  # (B, S, S, 3)
