"""CaiT with a head."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from cait_tf.backbone import CaiTBackbone
from cait_tf.errors import CaiTError
from cait_tf.heads import OPTIONS, build_head, class_columns
from cait_tf.weights.class_names import check_same_columns
from cait_tf.weights.keras_file import check_same_task, class_names


@keras.saving.register_keras_serializable("cait_tf")
class CaiTClassifier(keras.Model):
    """CaiT with a head: normalised images (B, h, w, c) to logits (B, num_classes).

    ``model(images, return_attention=True)`` returns ``(logits, maps)`` with the attention maps of
    `CaiTBackbone`. The constructor passes all other arguments to `CaiTBackbone`::

        model = CaiTClassifier(image_size=64, embed_dim=96, depth=3, num_heads=2, num_classes=7)

    Args:
        num_classes: number of columns C of the head.
        class_names: names of the columns, in order. Files of the model state the names.
            `cait_tf.load_weights` matches a file's columns by name. `None`: the columns have no
            names.
        head: ``linear``, ``mlp``, ``cosine`` or ``batchnorm_linear`` (`cait_tf.heads`).
        head_options: options of the head, such as ``{"hidden": 512}``. `None`: the defaults.
    """

    #: The heads that the model can have, with their options.
    HEADS = OPTIONS

    def __init__(
        self,
        num_classes: int = 1000,
        class_names: Sequence[str] | None = None,
        head: str = "linear",
        head_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        name = kwargs.pop("name", "cait_classifier")
        super().__init__(name=name, dtype=kwargs.get("dtype"), autocast=False)
        check_columns("num_classes", num_classes, "class_names", class_names)
        self.num_classes = num_classes
        # The head reads float32 features and writes float32 logits under every precision.
        self.backbone = CaiTBackbone(name="backbone", **kwargs)
        self.head_kind = head
        self.head_options = {**self.HEADS.get(head, {}), **(head_options or {})}
        self.head = build_head(
            head, num_classes, self.backbone.norm.dtype_policy, self.HEADS, **self.head_options
        )
        self.class_names = class_names
        self.build()

    def build(self, input_shape: tuple | None = None) -> None:
        if self.built:
            return
        with keras.name_scope(self.name, caller=self):
            self.backbone.build()
            self.head.build(self.feature_shape)
        self.built = True

    def call(self, images: Any, return_attention: bool = False, training: bool = False) -> Any:
        features = self.features(images, return_attention, training)  # (B, F)
        if not return_attention:
            return self.outputs(features, training)  # (B, C)
        features, maps = features
        return self.outputs(features, training), maps

    @property
    def feature_shape(self) -> tuple[int | None, ...]:
        """The shape of the head's input, ``(None, F)``."""
        return (None, self.backbone.num_features)

    def features(self, images: Any, return_attention: bool = False, training: bool = False) -> Any:
        """Return the head's input for normalised images ``(B, h, w, c)``: features ``(B, F)``.

        With `return_attention`: the features, and the attention maps of `CaiTBackbone`.
        """
        return self.backbone(images, return_attention=return_attention, training=training)

    def outputs(self, features: Any, training: bool = False) -> Any:
        """Return logits ``(B, C)`` for features ``(B, F)``."""
        return self.head(features, training=training)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Load a file that Keras saved, as `keras.Model.load_weights`.

        Raises:
            WeightsError: the model's columns have names, and the file's have other names or none, or
                the file is a regressor's and the model a classifier, or the reverse. The model
                stays unchanged. `cait_tf.load_weights` matches columns by name.
        """
        if str(filepath).endswith((".weights.h5", ".keras")) and Path(filepath).is_file():
            check_same_task(filepath, hasattr(self, "target_scale"))
            if self.class_names is not None and not skip_mismatch:
                check_same_columns(class_names(filepath), self.class_names)
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the head's columns, in order. `None`: the columns have no names."""
        return class_columns(self.head).class_names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        class_columns(self.head).class_names = None if names is None else tuple(names)

    def layer_id(self, path: str) -> int:
        """Return the layer id of a variable, as `CaiTBackbone.layer_id`."""
        return self.backbone.layer_id(path)

    @property
    def num_layer_ids(self) -> int:
        """The number of layer ids, as `CaiTBackbone.num_layer_ids`."""
        return self.backbone.num_layer_ids

    def forward_place(self, path: str) -> int:
        """Return a variable's position in the forward pass, as `CaiTBackbone.forward_place`."""
        return self.backbone.forward_place(path)

    @property
    def num_forward_places(self) -> int:
        """The number of positions, as `CaiTBackbone.num_forward_places`."""
        return self.backbone.num_forward_places

    def unused(self, path: str) -> bool:
        """Return whether the variable at `path` has no effect on the outputs. Here each has one."""
        return False

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters without weight decay, as `CaiTBackbone.no_weight_decay`."""
        return self.backbone.no_weight_decay()

    def get_config(self) -> dict:
        return {
            **self.backbone.get_config(),
            "name": self.name,
            "num_classes": self.num_classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "head": self.head_kind,
            "head_options": self.head_options,
        }


def check_columns(count_key: str, count: int, names_key: str, names: Sequence[str] | None) -> None:
    """Check the number and the names of a head's columns.

    Raises:
        CaiTError: `count` is not a positive whole number, or `names` has another number of names.
    """
    if not isinstance(count, numbers.Integral) or count < 1:
        raise CaiTError(
            f"{count_key}: got {count!r}, expected a whole number of at least 1 "
            "(CaiTBackbone has no head)"
        )
    if names is not None and len(names) != count:
        raise CaiTError(
            f"{names_key}: got {len(names)} names, expected {count}, one for each column "
            "of the model's head"
        )
