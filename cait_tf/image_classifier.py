"""A classifier that takes pixels as they come out of a file: what is exported where no decoder is.

Everything is in `keras.ops`, and of operations that ONNX and LiteRT have too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from cait_tf.classifier import CaiTClassifier
from cait_tf.errors import CaiTError
from cait_tf.resampling import KERNELS, resampling_matrix, whole_levels


@keras.saving.register_keras_serializable("cait_tf")
class ImageClassifier(keras.Model):
    """Images (B, h, w, 3) uint8 of any one size to probabilities (B, C).

    `classify` names the classes as well. Each image is brought to the classifier's size S and normalised inside, as in training, but for
    the rounding of a few grey values. EXIF orientation stands in files, not in pixels: whoever
    decodes a photograph turns it.

    Args:
        classifier: normalised images (B, S, S, 3) to logits (B, C).
        class_names: C of them, in the order of the probabilities.
        resize_mode: ``shorter_side`` resizes that to ``S / crop_pct`` and cuts the centre square of S
            out; ``squash`` resizes both sides to ``S / crop_pct`` and cuts out the same; ``pad``
            resizes the longer side to S, with black beside it.
        antialias: widen the kernel when shrinking, as PIL does.
        temperature: what the logits are divided by, so that probabilities are what they say.
        multi_label: each class has a probability of its own: a sigmoid instead of a softmax.

    Raises:
        CaiTError: a way of resizing that there is not, names for other classes, or a classifier of
            images that are not square.
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
        multi_label: bool = False,
        name: str = "image_classifier",
    ) -> None:
        super().__init__(name=name, autocast=False)
        for key, got, known in (
            ("resize_mode", resize_mode, ("shorter_side", "squash", "pad")),
            ("interpolation", interpolation, tuple(KERNELS)),
        ):
            if got not in known:
                raise CaiTError(f"{key}: got {got!r}, expected one of {', '.join(known)}")
        height, width = classifier.backbone.image_size
        if height != width:
            raise CaiTError(f"classifier: got one of {height}x{width} images, expected square ones")
        if len(class_names) != classifier.num_classes:
            raise CaiTError(
                f"class_names: got {len(class_names)}, expected {classifier.num_classes}, one for each "
                "class"
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
        self.multi_label = multi_label
        self.built = True

    def call(self, images: Any, return_logits: bool = False) -> Any:
        """Probabilities ``(B, C)``, or the logits ``(B, C)`` that they are of."""
        logits = self.classifier(self.preprocess(images), training=False) / self.temperature
        return logits if return_logits else self.probabilities(logits)

    def probabilities(self, logits: Any) -> Any:
        """``(B, C)`` of the logits of `call`."""
        return ops.sigmoid(logits) if self.multi_label else ops.softmax(logits)

    def classify(self, images: Any) -> dict[str, np.ndarray]:
        """Name the most probable class of each image, also where an image may have several labels.

        Args:
            images: ``(B, h, w, 3)`` uint8.

        Returns:
            ``predicted_class`` ``(B,)``, a name; ``probability`` ``(B,)``, its probability;
            ``probabilities`` ``(B, C)``; ``class_names`` ``(C,)``, the names of the columns.
        """
        logits = self(images, return_logits=True)
        probabilities = ops.convert_to_numpy(self.probabilities(logits))
        names = np.array(self.class_names)
        # Of the logits: several sigmoids may round to the same 1.
        index = ops.convert_to_numpy(ops.argmax(logits, axis=-1))
        return {
            "predicted_class": names[index],
            "probability": probabilities.max(axis=-1),
            "probabilities": probabilities,
            "class_names": names,
        }

    def preprocess(self, images: Any) -> Any:
        """``(B, h, w, 3)`` uint8 to the ``(B, S, S, 3)`` float32 that the classifier takes."""
        size, _ = self.classifier.backbone.image_size
        rows, columns = self._matrices(*ops.shape(images)[1:3], size)  # (S, h), (S, w)
        x = ops.cast(ops.transpose(images, (0, 3, 1, 2)), "float32")  # (B, 3, h, w)
        x = whole_levels(ops.matmul(x, ops.transpose(columns)))  # (B, 3, h, S)
        x = whole_levels(ops.matmul(rows, x))  # (B, 3, S, S)
        mean, std = (
            ops.convert_to_tensor([255.0 * value for value in values], "float32")
            for values in (self.mean, self.std)
        )
        return (ops.transpose(x, (0, 2, 3, 1)) - mean) / std

    def _matrices(self, height: Any, width: Any, size: int) -> tuple[Any, Any]:
        """What makes the rows and the columns of the result of those of the image."""

        def matrix(length: Any, start: Any, step: Any) -> Any:
            return resampling_matrix(length, size, start, step, self.interpolation, self.antialias)

        h, w = (ops.cast(side, "float32") for side in (height, width))
        if self.resize_mode == "pad":
            side = ops.maximum(h, w)
            return tuple(
                matrix(n, (x - side) / 2, side / size) for n, x in ((height, h), (width, w))
            )
        short = math.floor(size / self.crop_pct)
        scaled = (short, short)
        if self.resize_mode == "shorter_side":
            least = ops.minimum(height, width)
            scaled = tuple(short * side // least for side in (height, width))

        def centre(length: Any, real: Any, scaled: Any) -> Any:
            step = real / ops.cast(scaled, "float32")
            margin = ops.round((ops.cast(scaled, "float32") - size) / 2)
            return matrix(length, margin * step, step)

        return centre(height, h, scaled[0]), centre(width, w, scaled[1])

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
            "multi_label": self.multi_label,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict) -> ImageClassifier:
        classifier = keras.saving.deserialize_keras_object(config["classifier"])
        return cls(**{**config, "classifier": classifier})
