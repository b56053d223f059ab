"""A classifier of decoded pixels, for export formats that cannot decode image files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cait_tf.classifier import CaiTClassifier
from cait_tf.errors import CaiTError
from cait_tf.image_model import ImageModel, check_choice
from cait_tf.keras_ops import ops


@keras.saving.register_keras_serializable("cait_tf")
class ImageClassifier(ImageModel):
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
        activation: ``softmax``, or ``sigmoid``, which gives each class an independent probability.

    Raises:
        CaiTError: `resize_mode`, `interpolation` or `activation` is unknown, `class_names` do not fit the
            classifier's columns, or the classifier is a regressor.
    """

    INNER = "classifier"
    NAMES = "class_names"
    SETTINGS = (*ImageModel.SETTINGS, "temperature", "activation")

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
        super().__init__(crop_pct, interpolation, mean, std, resize_mode, antialias, name)
        check_choice("activation", activation, ("softmax", "sigmoid"))
        if hasattr(classifier, "target_scale"):
            raise CaiTError(
                "classifier: got a CaiTRegressor, expected a CaiTClassifier\n"
                "  Use cait_tf.ImageRegressor."
            )
        self.temperature = temperature
        self.activation = activation
        self.adopt(classifier, class_names, "class")

    def call(self, images: Any, return_logits: bool = False) -> Any:
        """Return probabilities ``(B, C)``, or logits ``(B, C)`` divided by the temperature.

        Raises:
            CaiTError: the images are not uint8. The value range of other dtypes is not known.
        """
        logits = self.inner_outputs(images) / self.temperature
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

    @staticmethod
    def _upgraded(values: dict) -> dict:
        """Return the settings of a file. Earlier versions wrote ``multi_label`` for ``activation``."""
        several = values.get("multi_label")
        if several is None:
            return values
        others = {key: value for key, value in values.items() if key != "multi_label"}
        return {**others, "activation": "sigmoid" if several else "softmax"}
