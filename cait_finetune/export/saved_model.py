"""The SavedModel of a fine-tuned classifier: preprocessing and class names inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from cait_finetune.export.parity import check_parity, whole_or_absent
from cait_finetune.export.serving import link_version
from cait_finetune.export.subject import Evidence, Subject
from cait_tf.tensorflow_kernels import patches_in_halves


class ServingModule(tf.Module):
    """What is saved. Two signatures:

    ``serving_default``: ``image_bytes`` (B,) of JPEG, PNG, GIF, WebP or BMP files, to
    ``probabilities`` (B, C), ``classes`` (B,) int32, the most probable, and ``class_names`` (B,), its
    name. Where images have several labels each class has a probability of its own. Probabilities are
    those of ``logits / temperature``.
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

    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        size = self.model.backbone.image_size
        images = tf.map_fn(
            lambda one: self._preprocess(self._decode(one)),
            image_bytes,
            fn_output_signature=tf.TensorSpec((*size, 3), tf.float32),
        )  # (B, S, S, 3)
        logits = self.model(images, training=False)  # (B, C)
        # Of the logits: several sigmoids may round to the same 1.
        classes = tf.argmax(logits, axis=-1, output_type=tf.int32)  # (B,)
        return {
            "probabilities": self._probabilities(logits / self._temperature),  # (B, C)
            "classes": classes,
            "class_names": tf.gather(self.names, classes),
        }

    def images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        features = self.model.backbone(images, training=False)  # (B, D)
        return {"logits": self.model.head(features), "features": features}

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
    multi_label: bool = False,
    temperature: float = 1.0,
) -> float:
    """Write the SavedModel, load it again, and hold it against the model on real images.

    Args:
        model: a float32 classifier.
        samples: id and file bytes of the images to check on.
        temperature: what the logits are divided by before they become probabilities.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: the outputs differ; nothing is left in `directory`.
    """
    size = model.backbone.image_size
    module = ServingModule(model, preprocess, decode, class_names, multi_label, temperature)
    # Not functions of the module: those TensorFlow traces a second time to save them.
    with patches_in_halves():  # most are asked for one image at a time
        signatures = {
            name: tf.function(function, autograph=False).get_concrete_function(spec)
            for name, function, spec in (
                ("serving_default", module.serving_default,
                 tf.TensorSpec((None,), tf.string, name="image_bytes")),
                ("images", module.images,
                 tf.TensorSpec((None, *size, 3), tf.float32, name="images")),
            )
        }  # fmt: skip
    with whole_or_absent(directory) as partial:
        tf.saved_model.save(module, str(partial), signatures=signatures)
        return check_parity(partial, model, preprocess, decode, samples, multi_label, temperature)


def export(subject: Subject, evidence: Evidence, directory: Path) -> dict:
    """`export_saved_model` as `formats.Export`, and beside it what TF-Serving is started on.

    Raises:
        UserError: the outputs differ.
    """
    difference = export_saved_model(
        subject.model,
        subject.preprocessing,
        subject.preprocessing.decode,
        subject.class_names,
        evidence.samples,
        directory,
        subject.multi_label,
        subject.temperature,
    )
    serving = directory.with_name("serving")
    link_version(directory, serving)
    return {"path": str(directory), "difference": difference, "serving": str(serving)}
