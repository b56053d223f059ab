"""Export a SavedModel that contains the preprocessing, the classifier and the class names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.parity import check_parity, whole_or_absent
from cait_finetune.export.serving import link_version
from cait_finetune.runs.provenance import Provenance, add_to_directory
from cait_finetune.scores.postprocessing import Postprocessing
from cait_finetune.scores.probabilities import PLAIN_SOFTMAX
from cait_tf.fused.tensorflow import split_patches


class ServingModule(tf.Module):
    """The object that `export_saved_model` saves. It has three signatures.

    ``serving_default`` maps ``image_bytes`` (B,) to ``predicted_class`` (B,), the name of the most
    probable class; ``probability`` (B,), the probability of that class; ``probabilities`` (B, C); and
    ``class_names`` (C,), the names of the columns. ``image_bytes`` are the bytes of JPEG, PNG, GIF, WebP
    or BMP files. For another number of channels than 3 they are those of PNG, JPEG or NPY files.
    `postprocessing` turns logits into probabilities.

    ``rows`` returns the same outputs, but ``class_names`` is (B, C), and adds ``predicted_index`` (B,)
    int32, the column of the most probable class. The first axis of every output is the batch, because
    TF-Serving's row format and batching need it.

    ``images`` maps a batch (B, H, W, c) of c channels, normalised as in training, to ``logits`` (B, C) and
    ``features`` (B, D).

    The method ``labels()`` returns all class names in column order.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocess: Callable[[tf.Tensor], tf.Tensor],
        decode: Callable[[tf.Tensor], tf.Tensor],
        class_names: Sequence[str],
        postprocessing: Postprocessing = PLAIN_SOFTMAX,
    ) -> None:
        super().__init__()
        self.model = model
        self._preprocess = preprocess
        self._decode = decode
        self._postprocessing = postprocessing
        self.names = tf.constant(list(class_names))

    def logits(self, image_bytes: tf.Tensor) -> tf.Tensor:
        """Return the logits ``(B, C)`` of image files ``(B,)``."""
        size = self.model.backbone.image_size
        images = tf.map_fn(
            lambda one: self._preprocess(self._decode(one)),
            image_bytes,
            fn_output_signature=tf.TensorSpec((*size, self.model.backbone.in_channels), tf.float32),
        )  # (B, H, W, C)
        return self.model(images, training=False)  # (B, C)

    def serving_default(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs of the signature ``serving_default`` for logits ``(B, C)``."""
        return self._postprocessing.answers(logits, self.names)

    def rows(self, logits: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs of the signature ``rows`` for logits ``(B, C)``."""
        return self._postprocessing.row_answers(logits, self.names)

    def images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self.model.backbone(images, training=False)  # (B, F)
        return {"logits": self.model.outputs(features), "features": features}

    @tf.function(input_signature=[], autograph=False)
    def labels(self) -> tf.Tensor:
        return tf.identity(self.names)


def export_saved_model(
    model: keras.Model,
    preprocess: Callable[[tf.Tensor], tf.Tensor],
    decode: Callable[[tf.Tensor], tf.Tensor],
    class_names: Sequence[str],
    samples: Sequence[tuple[str, bytes]],
    directory: Path,
    postprocessing: Postprocessing = PLAIN_SOFTMAX,
    provenance: Provenance | None = None,
) -> float:
    """Write the SavedModel, load it again, and compare it with the model on real images.

    Args:
        model: a float32 classifier.
        samples: id and file bytes of the images for the parity check.
        postprocessing: turns logits into probabilities.
        provenance: the provenance to write into the SavedModel. `None`: none.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: the outputs differ. No new file is kept, and an existing `directory` stays as it is.
    """
    size = model.backbone.image_size
    module = ServingModule(model, preprocess, decode, class_names, postprocessing)
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    channels = model.backbone.in_channels
    batch = tf.TensorSpec((None, *size, channels), tf.float32, name="images")
    # As attributes of the module, these functions would be traced again when TensorFlow saves it.
    logits = tf.function(module.logits, autograph=False)  # one trace for two signatures
    with split_patches():  # most requests hold one image
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
            partial, model, preprocess, decode, class_names, samples, postprocessing
        )


def export(exported: ExportedModel, validation: ValidationSamples, directory: Path) -> dict:
    """Write and check the SavedModel, as `formats.Export` specifies, and link it for TF-Serving.

    Returns:
        The record of `formats.Export`, with ``serving``: the model base path for TF-Serving.

    Raises:
        UserError: the outputs differ from evaluation.
    """
    difference = export_saved_model(
        exported.model,
        exported.preprocessing,
        exported.preprocessing.decode,
        exported.class_names,
        validation.files,
        directory,
        exported.postprocessing,
        exported.provenance,
    )
    serving = directory.with_name("serving")
    link_version(directory, serving)
    return {"path": str(directory), "difference": difference, "serving": str(serving)}
