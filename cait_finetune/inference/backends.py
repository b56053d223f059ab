"""Models that classify image files: each takes the bytes of files and returns probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from cait_finetune import model as models
from cait_finetune.errors import bad_value
from cait_finetune.inference.portable import LABELS, damaged, stacked
from cait_finetune.runs.provenance import Provenance, read_provenance, replaced_file
from cait_finetune.runs.saved import SavedRun


class Backend(Protocol):
    """A model that classifies image files.

    Attributes:
        class_names: one name per column of the probabilities, in the same order.
        provenance: the provenance that the model file states. `None`: the file states none, or the
            model is a run's checkpoint.
        several: whether the model answers several labels, whose columns `label_groups` finds.
    """

    class_names: Sequence[str]
    several: bool
    provenance: Provenance | None

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """Return the probabilities ``(B, C)`` of B files, or numbers as `stacked` returns them.

        Args:
            files: the bytes of each file.

        Raises:
            tf.errors.InvalidArgumentError: a file is not an image.
        """


class SavedModel:
    """A SavedModel of this project, which contains decoding, preprocessing and class names.

    Raises:
        UserError: the SavedModel is damaged, contains a file of another SavedModel, or was not
            exported by this project.
    """

    def __init__(self, directory: Path) -> None:
        try:
            self._loaded = tf.saved_model.load(str(directory))  # keeps the variables alive
        except Exception as error:  # a truncated file may raise any error
            raise damaged(directory, "a complete SavedModel", error) from error
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
        self.several = LABELS in self._serve.structured_outputs
        self.provenance = read_provenance(directory)
        if name := replaced_file(self.provenance, directory):
            raise bad_value("model", f"{directory / name}, which is not the file that was exported",
                            "a SavedModel as it was exported", "Copy the whole directory again, or export it again")  # fmt: skip

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """Classify files, as `Backend` does."""
        outputs = self._serve(image_bytes=tf.constant(list(files)))
        return stacked({name: one.numpy() for name, one in outputs.items()})


class Checkpoint:
    """The best weights of a run, for saliency maps and for runs without a current export.

    The outputs become what the run's result states, such as probabilities with its ``temperature``.
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
        self._postprocessing = run.postprocessing.named(self.class_names)
        self.several = LABELS in self._postprocessing.legends

    @tf.function(reduce_retracing=True, autograph=False)
    def _classify(self, images: tf.Tensor) -> tf.Tensor:
        logits = self._model(images, training=False)  # (B, C)
        return self._postprocessing.tensor(logits)

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """Classify files, as `Backend` does."""
        values = self._classify(self._seen(files)).numpy()
        return stacked(self._postprocessing.expected(values))

    def saliency(self, files: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Return the preprocessed image and the class saliency map of each file.

        Returns:
            Images ``(B, H, W, 3)`` and maps ``(B, H, W)``, both from 0 to 1.
        """
        images = self._seen(files).numpy()
        return self._preprocessing.denormalise(images), models.saliency(self._model, images)

    def _seen(self, files: Sequence[bytes]) -> tf.Tensor:
        return tf.stack([self._see(data) for data in files])  # (B, H, W, 3)
