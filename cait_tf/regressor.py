"""CaiT with a head for numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from cait_tf.classifier import CaiTClassifier, check_columns
from cait_tf.target_scale import TargetScale


@keras.saving.register_keras_serializable("cait_tf")
class CaiTRegressor(CaiTClassifier):
    """CaiT with a head for numbers: normalised images (B, h, w, c) to numbers (B, T), float32.

    The numbers have the targets' units: after the head, `TargetScale` computes
    ``outputs * std + mean``. `adapt` sets ``mean`` and ``std``. Every file of the model has them.
    ``num_classes`` and ``class_names`` are other names of ``num_targets`` and ``target_names``::

        model = CaiTRegressor(2, ["age", "weight"], image_size=64, embed_dim=96, depth=3, num_heads=2)
        model.adapt(labels)  # (N, 2)

    Args:
        num_targets: number of targets T.
        target_names: names of the targets, in order. Files of the model state the names.
            `cait_tf.load_weights` matches a file's columns by name. `None`: the targets have no
            names.
        head: as for `CaiTClassifier`.
        head_options: as for `CaiTClassifier`.

    Raises:
        CaiTError: an argument has a wrong type or range, as for `CaiTClassifier`.
    """

    def __init__(
        self,
        num_targets: int = 1,
        target_names: Sequence[str] | None = None,
        head: str = "linear",
        head_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        check_columns("num_targets", num_targets, "target_names", target_names)
        kwargs.setdefault("name", "cait_regressor")
        super().__init__(num_targets, target_names, head, head_options, **kwargs)

    def build(self, input_shape: tuple | None = None) -> None:
        if self.built:
            return
        self.target_scale = TargetScale(self.num_classes, name="target_scale")
        with keras.name_scope(self.name, caller=self):
            self.target_scale.build()
        super().build(input_shape)

    def outputs(self, features: Any, training: bool = False) -> Any:
        """Return numbers ``(B, T)`` in the targets' units for features ``(B, F)``."""
        return self.target_scale(super().outputs(features, training))

    def adapt(self, labels: Any) -> None:
        """Set the statistics of the targets to those of `labels`, as `TargetScale.adapt`."""
        self.target_scale.adapt(labels, self.target_names)

    @property
    def num_targets(self) -> int:
        """The number of targets T."""
        return self.num_classes

    @property
    def target_names(self) -> tuple[str, ...] | None:
        """Names of the targets, in order. `None`: the targets have no names."""
        return self.class_names

    @target_names.setter
    def target_names(self, names: Sequence[str] | None) -> None:
        self.class_names = names

    def get_config(self) -> dict:
        config = super().get_config()
        return {
            **{key: value for key, value in config.items() if key not in _OF_CLASSES},
            **{ours: config[theirs] for theirs, ours in _OF_CLASSES.items()},
        }


_OF_CLASSES = {"num_classes": "num_targets", "class_names": "target_names"}
