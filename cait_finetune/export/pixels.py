"""Build the model in ONNX, LiteRT and .keras files: it maps pixels to probabilities, or to numbers."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

import cait_tf
from cait_finetune.export.exported_model import ExportedModel
from cait_finetune.scores.postprocessing import Numbers
from cait_finetune.scores.several_probabilities import SeveralProbabilities
from cait_tf.image_model import ImageModel


def image_model(exported: ExportedModel) -> ImageModel:
    """Return one Keras model with the preprocessing, network, postprocessing and names."""
    way, after = exported.preprocessing, exported.postprocessing
    prepared = {
        "crop_pct": way.crop_pct,
        "interpolation": way.interpolation,
        "mean": way.mean,
        "std": way.std,
        "resize_mode": way.resize_mode,
        "antialias": way.antialias,
    }
    if isinstance(after, Numbers):
        return cait_tf.ImageRegressor(
            exported.model,
            exported.class_names,
            **prepared,
            alpha=None if after.half_widths is None else after.alpha,
            half_widths=after.half_widths,
        )
    if isinstance(after, SeveralProbabilities):
        return cait_tf.ImageSeveralClassifier(
            exported.model,
            exported.class_names,
            **prepared,
            temperatures=dict(after.temperatures),
        )
    return cait_tf.ImageClassifier(
        exported.model,
        exported.class_names,
        **prepared,
        temperature=after.temperature,
        activation=after.activation.name,
    )


def frozen_function(exported: ExportedModel, texts: bool) -> tf.types.experimental.GenericFunction:
    """Return a function from ``images`` to the outputs of a file.

    ``images`` is (B, h, w, 3) uint8, or (B, h, w, c) float32 for c channels of bands.

    Of classes: ``probabilities`` (B, C) and more. Of numbers: ``prediction`` (B, T), and ``lower`` and
    ``upper`` (B, T) if intervals were fitted.

    The weights are constants of the function. LiteRT would keep variables as empty variables and would
    not quantise them. ``probability`` (B,) is each image's largest probability.

    Args:
        texts: whether the format has strings. `True` adds the outputs ``predicted_class`` (B,), a class
            name, and ``class_names`` (C,), the names of the columns. `False` adds ``predicted_index``
            (B,) int32. Of numbers: `True` adds ``target_names`` (T,). Of several labels:
            ``predicted_class``, ``probability`` and ``predicted_index`` are (B, L), and `True` adds
            ``label_names`` (L,).
    """
    model, after = image_model(exported), exported.postprocessing
    channels = len(exported.preprocessing.mean)
    kind = tf.uint8 if channels == 3 else tf.float32
    weights = [variable.numpy() for variable in model.trainable_variables]
    others = [variable.numpy() for variable in model.non_trainable_variables]

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, channels), kind, name="images")],
        autograph=False,
    )
    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # Create the constants here: TensorFlow would capture outer tensors as inputs.
        constants = [[tf.constant(value) for value in values] for values in (weights, others)]
        if isinstance(after, Numbers):
            prediction, _ = model.stateless_call(*constants, images)
            found = after.answers(prediction, list(exported.class_names))
            return found if texts else {k: v for k, v in found.items() if k != "target_names"}
        logits, _ = model.stateless_call(*constants, images, return_logits=True)
        if isinstance(after, SeveralProbabilities):  # the model divides by the temperatures
            plain = SeveralProbabilities(after.groups)
            found = plain.answers(logits, tf.constant(list(exported.class_names)))
            if texts:
                return found
            kept = {name: found[name] for name in ("probabilities", "probability")}
            return {**kept, "predicted_index": plain.best_columns(logits)}
        probabilities = model.probabilities(logits)
        outputs = {
            "probabilities": probabilities,  # (B, C)
            "probability": tf.reduce_max(probabilities, axis=-1),
        }
        # Use the logits: several sigmoids may round to 1.
        index = tf.argmax(logits, axis=-1, output_type=tf.int32)  # (B,)
        if not texts:
            return {**outputs, "predicted_index": index}
        names = tf.constant(list(exported.class_names))
        return {**outputs, "predicted_class": tf.gather(names, index), "class_names": names}

    return classify


def write_labels(exported: ExportedModel, directory: Path) -> None:
    """Write ``labels.txt``: one class name per line, in the order of the probabilities."""
    lines = [" ".join(name.splitlines()) for name in exported.class_names]
    (directory / "labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
