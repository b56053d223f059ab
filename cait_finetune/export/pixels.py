"""Build the model in ONNX, LiteRT and .keras files: it maps pixels to probabilities, or to numbers."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

import cait_tf
from cait_finetune.export.exported_model import ExportedModel
from cait_tf.image_model import ImageModel


def image_model(exported: ExportedModel) -> ImageModel:
    """Return one Keras model with the preprocessing, network, postprocessing and names."""
    way = exported.preprocessing
    prepared = {
        "crop_pct": way.crop_pct,
        "interpolation": way.interpolation,
        "mean": way.mean,
        "std": way.std,
        "resize_mode": way.resize_mode,
        "antialias": way.antialias,
    }
    name, own = exported.postprocessing.keras_model()
    return getattr(cait_tf, name)(exported.model, exported.class_names, **prepared, **own)


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
    weights = [(variable, variable.numpy()) for variable in model.variables]

    @tf.function(
        input_signature=[tf.TensorSpec((None, None, None, channels), kind, name="images")],
        autograph=False,
    )
    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # Create the constants here: TensorFlow would capture outer tensors as inputs.
        constants = [(variable, tf.constant(value)) for variable, value in weights]
        with keras.StatelessScope(state_mapping=constants):
            outputs = model.inner_outputs(images)
        found = after.answers(outputs, tf.constant(list(exported.class_names)))
        if texts:
            return found
        others = {name: one for name, one in found.items() if one.dtype != tf.string}
        return {**others, **after.indices(outputs)}

    return classify


def write_labels(exported: ExportedModel, directory: Path) -> None:
    """Write ``labels.txt``: one class name per line, in the order of the probabilities."""
    lines = [" ".join(name.splitlines()) for name in exported.class_names]
    (directory / "labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
