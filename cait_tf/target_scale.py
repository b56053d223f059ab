"""The last layer of a regressor: standardised outputs to numbers in the targets' units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from cait_tf.errors import CaiTError
from cait_tf.heads import NamedDense
from cait_tf.keras_ops import ops


class TargetScale(keras.layers.Layer):
    """Compute ``outputs * std + mean`` in float32: (B, T) to (B, T).

    ``mean`` (T,) and ``std`` (T,) are statistics of the training targets, initially 0 and 1. No
    optimizer trains them. `adapt` computes them, as `keras.layers.Normalization.adapt`.

    Args:
        units: number of targets T.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.units = units

    def build(self, input_shape: tuple | None = None) -> None:
        shared = {"shape": (self.units,), "trainable": False, "dtype": "float32"}
        self.mean = self.add_weight(name="mean", initializer="zeros", **shared)
        self.std = self.add_weight(name="std", initializer="ones", **shared)
        self.built = True

    def call(self, outputs: Any) -> Any:
        return ops.cast(outputs, "float32") * self.std + self.mean  # (B, T)

    def adapt(self, labels: Any, names: Sequence[str] | None = None) -> None:
        """Set ``mean`` and ``std`` to the mean and the population standard deviation of `labels`.

        Args:
            labels: ``(N, T)`` numbers in the targets' units, or ``(N,)`` if T is 1. The computation
                is in float64.
            names: names of the targets, for messages. `None`: numbers from 0.

        Raises:
            CaiTError: `labels` has another shape or no rows, a number is not finite, or a target is
                constant. The layer stays unchanged.
        """
        table = np.asarray(labels, "float64")
        if table.ndim == 1 and self.units == 1:
            table = table[:, None]
        if table.ndim != 2 or table.shape[1] != self.units or not len(table):
            raise CaiTError(
                f"labels: got shape {table.shape}, expected (N, {self.units}) with N above 0"
            )
        for target, column in enumerate(table.T):
            name = names[target] if names else target
            if not np.isfinite(column).all():
                raise CaiTError(
                    f"labels: got {column[~np.isfinite(column)][0]} for target {name}, expected finite "
                    "numbers\n  Remove the rows whose label is not a finite number."
                )
            if column.min() == column.max():
                raise CaiTError(
                    f"labels: got {column[0]:g} in all rows for target {name}, expected at least two "
                    "different numbers\n  Remove the target, or add images with other labels."
                )
        with np.errstate(over="ignore"):  # `set` refuses infinity
            self.set(table.mean(axis=0), table.std(axis=0))

    def set(self, mean: Any, std: Any) -> None:
        """Assign statistics.

        Args:
            mean: ``(T,)`` finite numbers.
            std: ``(T,)`` finite numbers above 0, also when rounded to float32.

        Raises:
            CaiTError: a value has another shape or is out of range. The layer stays unchanged.
        """
        if not self.built:
            self.build()
        values = []
        for key, value in (("mean", mean), ("std", std)):
            with np.errstate(over="ignore", under="ignore"):
                rounded = np.asarray(value, "float64").astype("float32")
            if rounded.shape != (self.units,):
                raise CaiTError(f"{key}: got shape {rounded.shape}, expected ({self.units},)")
            fits = np.isfinite(rounded) & ((rounded > 0) | (key == "mean"))
            if not fits.all():
                wanted = "finite float32 numbers" + " above 0" * (key == "std")
                raise CaiTError(
                    f"{key}: got {np.asarray(value)[~fits][0]}, expected {wanted}\n"
                    "  Choose another unit for the target."
                )
            values.append(rounded)
        self.mean.assign(values[0])
        self.std.assign(values[1])


def folded(head: keras.layers.Layer, scale: TargetScale) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel and bias of one linear layer that computes ``scale(head(features))``.

    Formats without a `TargetScale`, such as timm's, take this layer.

    Args:
        head: a linear head.

    Returns:
        ``kernel * std`` ``(F, T)`` and ``bias * std + mean`` ``(T,)``, float32.

    Raises:
        CaiTError: the head is not linear.
    """
    if not isinstance(head, NamedDense):
        raise CaiTError(
            f"head: got {type(head).__name__}, expected a linear head\n"
            "  Export the model in another format, such as .keras."
        )
    kernel, bias, mean, std = (
        ops.convert_to_numpy(one).astype("float64")
        for one in (head.kernel, head.bias, scale.mean, scale.std)
    )
    return (kernel * std).astype("float32"), (bias * std + mean).astype("float32")
