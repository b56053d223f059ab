"""A regressor of decoded pixels, for export formats that cannot decode image files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cait_tf.errors import CaiTError
from cait_tf.image_model import ImageModel
from cait_tf.keras_ops import ops
from cait_tf.regressor import CaiTRegressor


@keras.saving.register_keras_serializable("cait_tf")
class ImageRegressor(ImageModel):
    """Images (B, h, w, 3) uint8 to numbers (B, T) in the targets' units, float32.

    The images of a batch have the same size. `estimate` returns names and prediction intervals as
    well. The preprocessing is that of `ImageClassifier`.

    Args:
        regressor: normalised images (B, H, W, 3) to numbers (B, T).
        target_names: T names, in the order of the numbers.
        crop_pct, interpolation, mean, std, resize_mode, antialias: as for `ImageClassifier`.
        alpha: the expected share of images outside the interval of a target, between 0 and 1.
            `None`: not known.
        half_widths: ``(T,)`` half widths of the intervals of split conformal prediction, in the
            targets' units; infinity is allowed. `None`: no intervals.

    Raises:
        CaiTError: a value is unknown or out of range, `target_names` do not fit the regressor's
            columns, or `alpha` is given without `half_widths`.
    """

    INNER = "regressor"
    NAMES = "target_names"
    SETTINGS = (*ImageModel.SETTINGS, "alpha", "half_widths")

    def __init__(
        self,
        regressor: CaiTRegressor,
        target_names: Sequence[str],
        crop_pct: float,
        interpolation: str,
        mean: Sequence[float],
        std: Sequence[float],
        resize_mode: str = "shorter_side",
        antialias: bool = True,
        alpha: float | None = None,
        half_widths: Sequence[float] | None = None,
        name: str = "image_regressor",
    ) -> None:
        super().__init__(crop_pct, interpolation, mean, std, resize_mode, antialias, name)
        if not hasattr(regressor, "target_scale"):
            raise CaiTError(
                f"regressor: got a {type(regressor).__name__}, expected a CaiTRegressor\n"
                "  Use cait_tf.ImageClassifier for a classifier."
            )
        if alpha is not None and not 0 < alpha < 1:
            raise CaiTError(f"alpha: got {alpha}, expected a number between 0 and 1")
        if alpha is not None and half_widths is None:
            raise CaiTError(
                f"half_widths: got None with alpha={alpha}, expected {regressor.num_targets} numbers\n"
                "  Give half_widths, or leave alpha out."
            )
        if half_widths is not None:
            widths = np.asarray(half_widths, "float64")
            if widths.shape != (regressor.num_targets,):
                raise CaiTError(
                    f"half_widths: got shape {widths.shape}, expected ({regressor.num_targets},), one "
                    "for each target"
                )
            if not (widths >= 0).all():  # NaN is not
                raise CaiTError(
                    f"half_widths: got {widths[~(widths >= 0)][0]}, expected numbers of at least 0"
                )
            half_widths = tuple(widths.tolist())
        self.alpha = None if alpha is None else float(alpha)
        self.half_widths = half_widths
        self.adopt(regressor, target_names, "target")

    def call(self, images: Any) -> Any:
        """Return numbers ``(B, T)`` in the targets' units.

        Raises:
            CaiTError: the images are not uint8. The value range of other dtypes is not known.
        """
        return self.inner_outputs(images)

    def interval(self, prediction: Any) -> tuple[Any, Any]:
        """Return ``prediction - half_widths`` and ``prediction + half_widths``.

        Args:
            prediction: ``(B, T)`` numbers of `call`.

        Returns:
            ``lower`` and ``upper``, ``(B, T)`` float32 each. An infinite half width gives minus and
            plus infinity.

        Raises:
            CaiTError: the model has no half widths.
        """
        if self.half_widths is None:
            raise CaiTError(
                "half_widths: got None, expected a number for each target\n"
                "  Give half_widths to ImageRegressor."
            )
        widths = ops.convert_to_tensor(np.array(self.half_widths, "float32"))  # (T,)
        return prediction - widths, prediction + widths

    def estimate(self, images: Any) -> dict[str, np.ndarray]:
        """Return numbers with their names and intervals.

        Args:
            images: ``(B, h, w, 3)`` uint8.

        Returns:
            ``prediction`` ``(B, T)``; ``lower`` and ``upper`` ``(B, T)``, the ends of the intervals,
            only if the model has half widths; ``target_names`` ``(T,)``, the names of the columns.
        """
        prediction = self(images)
        found = {"prediction": prediction}
        if self.half_widths is not None:
            found["lower"], found["upper"] = self.interval(prediction)
        arrays = {key: ops.convert_to_numpy(value) for key, value in found.items()}
        return {**arrays, "target_names": np.array(self.target_names)}
