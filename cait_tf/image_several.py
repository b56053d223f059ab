"""A classifier of decoded pixels that answers several labels, for formats that cannot decode image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from cait_tf.classifier import CaiTClassifier
from cait_tf.errors import CaiTError
from cait_tf.image_model import ImageModel
from cait_tf.keras_ops import ops
from cait_tf.label_groups import label_groups


@keras.saving.register_keras_serializable("cait_tf")
class ImageSeveralClassifier(ImageModel):
    """Images (B, h, w, 3) uint8 to probabilities (B, C) that add up to 1 for each label.

    The images of a batch have the same size. `classify` returns the names as well. The preprocessing is
    that of `ImageClassifier`.

    Args:
        classifier: normalised images (B, H, W, 3) to logits (B, C).
        class_names: C names ``label=class``, in the order of the probabilities. The columns of a
            label are together.
        crop_pct, interpolation, mean, std, resize_mode, antialias: as for `ImageClassifier`.
        temperatures: the logits of a label are divided by its temperature. `None`: by 1.

    Raises:
        CaiTError: a value is unknown, `class_names` do not fit the classifier's columns, or a
            temperature is not above 0 or names a label that does not exist.
    """

    INNER = "classifier"
    NAMES = "class_names"
    SETTINGS = (*ImageModel.SETTINGS, "temperatures")

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
        temperatures: Mapping[str, float] | None = None,
        name: str = "image_several_classifier",
    ) -> None:
        super().__init__(crop_pct, interpolation, mean, std, resize_mode, antialias, name)
        if hasattr(classifier, "target_scale"):
            raise CaiTError(
                "classifier: got a CaiTRegressor, expected a CaiTClassifier\n"
                "  Use cait_tf.ImageRegressor."
            )
        self.groups = label_groups(class_names)
        labels = [group.name for group in self.groups]
        given = dict(temperatures or {})
        for label, one in given.items():
            if label not in labels or not one > 0:
                raise CaiTError(
                    f"temperatures: got {one} for {label}, expected a number above 0 for some of "
                    f"{', '.join(labels)}"
                )
        self.temperatures = {label: float(one) for label, one in given.items()}
        self.adopt(classifier, class_names, "class")

    def call(self, images: Any, return_logits: bool = False) -> Any:
        """Return probabilities ``(B, C)``, or logits ``(B, C)`` divided by the temperatures.

        Raises:
            CaiTError: the images are not uint8. The value range of other dtypes is not known.
        """
        outputs = self.inner_outputs(images)
        logits = [
            outputs[:, group.columns] / self.temperatures.get(group.name, 1.0)
            for group in self.groups
        ]
        parts = logits if return_logits else [ops.softmax(one) for one in logits]
        return ops.concatenate(parts, axis=-1)

    def classify(self, images: Any) -> dict[str, np.ndarray]:
        """Name the most probable class of each label of each image.

        Args:
            images: ``(B, h, w, 3)`` uint8.

        Returns:
            ``predicted_class`` ``(B, L)``, the name of the class of each label; ``probability``
            ``(B, L)``, the probability of that class; ``probabilities`` ``(B, C)``; ``class_names``
            ``(C,)``, the names of the columns; ``label_names`` ``(L,)``, the labels.
        """
        probabilities = ops.convert_to_numpy(self(images))
        parts = [probabilities[:, group.columns] for group in self.groups]
        chosen = [
            np.array(group.classes)[part.argmax(axis=-1)]
            for group, part in zip(self.groups, parts, strict=True)
        ]
        return {
            "predicted_class": np.stack(chosen, axis=-1),
            "probability": np.stack([part.max(axis=-1) for part in parts], axis=-1),
            "probabilities": probabilities,
            "class_names": np.array(self.class_names),
            "label_names": np.array([group.name for group in self.groups]),
        }
