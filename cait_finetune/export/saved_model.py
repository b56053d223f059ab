"""The SavedModel of a fine-tuned classifier: preprocessing and class names inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.parity import check_parity, whole_or_absent
from cait_finetune.export.serving import link_version
from cait_finetune.runs.provenance import Provenance, add_to_directory
from cait_tf.fused.tensorflow import split_patches


class ServingModule(tf.Module):
    """What is saved. Three signatures:

    ``serving_default``: ``image_bytes`` (B,) of JPEG, PNG, GIF, WebP or BMP files, to
    ``predicted_class`` (B,), the name of the most probable class, ``probability`` (B,), its
    probability, ``probabilities`` (B, C), and ``class_names`` (C,), the names of the columns. Where
    images have several labels each class has a probability of its own. Probabilities are those of
    ``logits / temperature``.
    ``rows``: the same with ``class_names`` (B, C), and ``predicted_index`` (B,) int32, the column of
    the most probable class. The first axis of every output is the batch, as TF-Serving's row format
    and its batching need.
    ``images``: a batch (B, S, S, 3) normalised as in training, to ``logits`` and ``features``.

    ``labels()`` gives all class names in order.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocess: Callable[[tf.Tensor], tf.Tensor],
        decode: Callable[[tf.Tensor], tf.Tensor],
        class_names: Sequence[str],
        multi_label: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self._preprocess = preprocess
        self._decode = decode
        self._probabilities = tf.sigmoid if multi_label else tf.nn.softmax
        self._temperature = temperature
        self.names = tf.constant(list(class_names))

    def logits(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """The logits ``(B, C)`` of image files ``(B,)``."""
        size = self.model.backbone.image_size
        images = tf.map_fn(
            lambda one: self._preprocess(self._decode(one)),
            image_bytes,
            fn_output_signature=tf.TensorSpec((*size, 3), tf.float32),
        )  # (B, S, S, 3)
        return self.model(images, training=False)  # (B, C)

    def serving_default(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of that signature, of logits ``(B, C)``."""
        probabilities = self._probabilities(logits / self._temperature)  # (B, C)
        return {
            "predicted_class": tf.gather(self.names, _most_probable(logits)),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "class_names": tf.identity(self.names),
        }

    def rows(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of that signature, of logits ``(B, C)``."""
        names = tf.tile(self.names[tf.newaxis], (tf.shape(logits)[0], 1))  # (B, C)
        index = _most_probable(logits)
        return {**self.serving_default(logits), "class_names": names, "predicted_index": index}

    def images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self.model.backbone(images, training=False)  # (B, D)
        return {"logits": self.model.head(features), "features": features}

    @tf.function(input_signature=[], autograph=False)
    def labels(self) -> tf.Tensor:
        return tf.identity(self.names)


def _most_probable(logits: tf.Tensor) -> tf.Tensor:
    # Of the logits: several sigmoids may round to the same 1.
    return tf.argmax(logits, axis=-1, output_type=tf.int32)  # (B,)


def export_saved_model(
    model: keras.Model,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    decode: Callable[[tf.Tensor], tf.Tensor],
    class_names: Sequence[str],
    samples: Sequence[tuple[str, bytes]],
    directory: Path,
    multi_label: bool = False,
    temperature: float = 1.0,
    provenance: Provenance | None = None,
) -> float:
    """Write the SavedModel, load it again, and hold it against the model on real images.

    Args:
        model: a float32 classifier.
        samples: id and file bytes of the images to check on.
        temperature: what the logits are divided by before they become probabilities.
        provenance: what the SavedModel states about itself; `None`: nothing.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: the outputs differ; nothing is left in `directory`.
    """
    size = model.backbone.image_size
    module = ServingModule(model, preprocess, decode, class_names, multi_label, temperature)
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    batch = tf.TensorSpec((None, *size, 3), tf.float32, name="images")
    # Not functions of the module: those TensorFlow traces a second time to save them.
    logits = tf.function(module.logits, autograph=False)  # traced once, for two signatures
    with split_patches():  # most are asked for one image at a time
        signatures = {
            name: tf.function(function, autograph=False).get_concrete_function(spec)
            for name, function, spec in (
                ("serving_default", lambda data: module.serving_default(logits(data)), files),
                ("rows", lambda data: module.rows(logits(data)), files),
                ("images", module.images, batch),
            )
        }
    with whole_or_absent(directory) as partial:
        tf.saved_model.save(module, str(partial), signatures=signatures)
        if provenance:
            add_to_directory(provenance, partial)
        return check_parity(
            partial, model, preprocess, decode, class_names, samples, multi_label, temperature
        )


def export(exported: ExportedModel, validation: ValidationSamples, directory: Path) -> dict:
    """`export_saved_model` as `formats.Export`, and beside it what TF-Serving is started on.

    Raises:
        UserError: the outputs differ.
    """
    difference = export_saved_model(
        exported.model,
        exported.preprocessing,
        exported.preprocessing.decode,
        exported.class_names,
        validation.files,
        directory,
        exported.multi_label,
        exported.temperature,
        exported.provenance,
    )
    serving = directory.with_name("serving")
    link_version(directory, serving)
    return {"path": str(directory), "difference": difference, "serving": str(serving)}
