"""A classifier of decoded pixels: the model for export formats that cannot decode image files.

It uses only `keras.ops` operations that ONNX and LiteRT have too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cait_tf.classifier import CaiTClassifier
from cait_tf.errors import CaiTError, WeightsError
from cait_tf.keras_ops import ops
from cait_tf.preprocessing import resize_and_normalise
from cait_tf.resampling import KERNELS
from cait_tf.weights.class_names import match_classes, some
from cait_tf.weights.keras_file import OF_IMAGES, as_numbers, of_numbers

_OWN = ("crop_pct", "interpolation", "mean", "std", "resize_mode", "antialias", "temperature",
        "activation")  # fmt: skip


@keras.saving.register_keras_serializable("cait_tf")
class ImageClassifier(keras.Model):
    """Images (B, h, w, 3) uint8 to probabilities (B, C). The images of a batch have the same size.

    `classify` returns class names as well. The model resizes each image to the classifier's size
    and normalises it, as in evaluation. Rounding may change a few grey values. EXIF orientation is
    in files, not in pixels: the code that decodes a photograph must rotate it.

    Args:
        classifier: normalised images (B, H, W, 3) to logits (B, C).
        class_names: C names, in the order of the probabilities.
        crop_pct: crop ratio: H and W divided by the size before the crop. ``pad`` ignores it.
        interpolation: ``bicubic`` or ``bilinear``.
        mean: mean of each channel, on a scale of 0 to 1.
        std: standard deviation of each channel, on a scale of 0 to 1.
        resize_mode: ``shorter_side`` resizes the image to cover ``H / crop_pct`` times
            ``W / crop_pct`` and crops the centre. For a square input the shorter side gets the
            input's size. ``squash`` resizes both sides to ``H / crop_pct`` and ``W / crop_pct`` and
            crops the centre. ``pad`` resizes the whole image to fit in H times W and pads with
            black.
        antialias: widen the kernel when shrinking, as PIL does.
        temperature: the logits are divided by it, to calibrate the probabilities.
        activation: ``softmax``, or ``sigmoid``, which gives each class its own probability.

    Raises:
        CaiTError: `resize_mode`, `interpolation` or `activation` is unknown, or `class_names` do not fit the
            classifier's columns.
    """

    def __init__(
        self,
        classifier: CaiTClassifier,
        class_names: Sequence[str],
        crop_pct: float,
        interpolation: str,
        mean: Sequence[float],
        std: Sequence[float],
        resize_mode: str = "shorter_side",
        antialias: bool = True,
        temperature: float = 1.0,
        activation: str = "softmax",
        name: str = "image_classifier",
    ) -> None:
        super().__init__(name=name, autocast=False)
        for key, got, known in (
            ("resize_mode", resize_mode, ("shorter_side", "squash", "pad")),
            ("interpolation", interpolation, tuple(KERNELS)),
            ("activation", activation, ("softmax", "sigmoid")),
        ):
            if got not in known:
                raise CaiTError(f"{key}: got {got!r}, expected one of {', '.join(known)}")
        if len(class_names) != classifier.num_classes:
            raise CaiTError(
                f"class_names: got {len(class_names)}, expected {classifier.num_classes}, one for each "
                "class"
            )
        if classifier.class_names is None:
            classifier.class_names = tuple(class_names)
        elif not match_classes(classifier.class_names, class_names).in_order:
            raise CaiTError(
                f"class_names: got {some(class_names)}, expected the classifier's: "
                f"{some(classifier.class_names)}"
            )
        self.classifier = classifier
        self.class_names = tuple(class_names)
        self.crop_pct = crop_pct
        self.interpolation = interpolation
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.resize_mode = resize_mode
        self.antialias = antialias
        self.temperature = temperature
        self.activation = activation
        backbone = classifier.backbone
        if (
            backbone.prepared is None
        ):  # (checksum, preparation): the empty checksum matches no weights
            own = {key: value for key, value in self._own().items() if key in OF_IMAGES}
            backbone.prepared = ("", json.dumps(own))
        self.built = True

    def call(self, images: Any, return_logits: bool = False) -> Any:
        """Return probabilities ``(B, C)``, or logits ``(B, C)`` divided by the temperature.

        Raises:
            CaiTError: the images are not uint8. The range of other numbers is not known.
        """
        kind = keras.backend.standardize_dtype(images.dtype)
        if kind != "uint8":
            hint = (
                "Divide 16-bit levels by 257"
                if kind == "uint16"
                else "Convert levels from 0 to 255"
            )
            raise CaiTError(
                f"images: got {kind}, expected uint8 levels from 0 to 255\n"
                f"  {hint} with keras.ops.cast(images{' // 257' * (kind == 'uint16')}, 'uint8')."
            )
        logits = self.classifier(self.preprocess(images), training=False) / self.temperature
        return logits if return_logits else self.probabilities(logits)

    def probabilities(self, logits: Any) -> Any:
        """Convert logits of `call` to probabilities ``(B, C)``."""
        return getattr(ops, self.activation)(logits)

    def classify(self, images: Any) -> dict[str, np.ndarray]:
        """Name the most probable class of each image. With ``sigmoid`` others may be probable, too.

        Args:
            images: ``(B, h, w, 3)`` uint8.

        Returns:
            ``predicted_class`` ``(B,)``, the name of the class; ``probability`` ``(B,)``, the
            probability of that class; ``probabilities`` ``(B, C)``; ``class_names`` ``(C,)``, the
            names of the columns.
        """
        logits = self(images, return_logits=True)
        probabilities = ops.convert_to_numpy(self.probabilities(logits))
        names = np.array(self.class_names)
        # Compare logits, because several sigmoids may round to 1.
        index = ops.convert_to_numpy(ops.argmax(logits, axis=-1))
        return {
            "predicted_class": names[index],
            "probability": probabilities.max(axis=-1),
            "probabilities": probabilities,
            "class_names": names,
        }

    def preprocess(self, images: Any) -> Any:
        """Resize and normalise ``(B, h, w, 3)`` uint8 to ``(B, H, W, 3)`` float32."""
        return resize_and_normalise(
            images,
            self.classifier.backbone.image_size,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            resize_mode=self.resize_mode,
            antialias=self.antialias,
        )

    def save_own_variables(self, store: Any) -> None:
        """Store what the model does with images and logits, for `load_own_variables`."""
        super().save_own_variables(store)
        store["own"] = as_numbers(self._own())

    def load_own_variables(self, store: Any) -> None:
        """Load a file of a model that prepares images and scales logits as this model does.

        Raises:
            WeightsError: a value differs.
        """
        found = {key: store[key] for key in store.keys()}  # noqa: SIM118  no dict
        theirs = _with_activation(of_numbers(found.pop("own"))) if "own" in found else self._own()
        if unlike := {key: theirs[key] for key, own in self._own().items() if theirs[key] != own}:
            shown = "; ".join(f"{key} {value}" for key, value in unlike.items())
            raise WeightsError(
                f"weights: got a file of a model with {shown}, expected this model's values\n"
                "  keras.saving.load_model reads a .keras file with its own values."
            )
        super().load_own_variables(found)

    def _own(self) -> dict:
        return json.loads(json.dumps({key: getattr(self, key) for key in _OWN}))  # lists, no tuples

    def get_config(self) -> dict:
        return {
            "classifier": keras.saving.serialize_keras_object(self.classifier),
            "class_names": list(self.class_names),
            "crop_pct": self.crop_pct,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
            "resize_mode": self.resize_mode,
            "antialias": self.antialias,
            "temperature": self.temperature,
            "activation": self.activation,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> ImageClassifier:
        classifier = keras.saving.deserialize_keras_object(config["classifier"], custom_objects)
        return cls(**{**_with_activation(config), "classifier": classifier})


def _with_activation(values: dict) -> dict:
    """Return the values of a file. Earlier versions wrote ``multi_label`` in place of ``activation``."""
    several = values.get("multi_label")
    if several is None:
        return values
    others = {key: value for key, value in values.items() if key != "multi_label"}
    return {**others, "activation": "sigmoid" if several else "softmax"}
