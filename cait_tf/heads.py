"""Heads: features (B, D) to logits (B, C), or feature maps to maps of logits.

Features and logits are float32 under every precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from cait_tf.errors import CaiTError
from cait_tf.keras_ops import ops
from cait_tf.layers import gelu, layer_norm, trunc_normal
from cait_tf.weights.class_names import check_same_columns
from cait_tf.weights.keras_file import as_numbers, of_numbers


class NamedColumns(keras.layers.Layer):
    """A layer whose columns may have class names. Every file that Keras writes states the names."""

    class_names: tuple[str, ...] | None = None
    _refusal: CaiTError | None = None

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.class_names is not None:
            store["class_names"] = as_numbers(self.class_names)

    def load_own_variables(self, store: Any) -> None:
        """Load the columns as they are. A layer without names takes the names in the file.

        Raises:
            WeightsError: the layer's columns have names, and the file's have other names or none.
        """
        found = {key: store[key] for key in store.keys()}  # noqa: SIM118  no dict
        stated = found.pop("class_names", None)
        names = None if stated is None else tuple(of_numbers(stated))
        if not found and self._refusal:
            raise self._refusal  # Keras tries an empty second path, and shows only the last error
        if self.class_names is not None:
            try:
                check_same_columns(names, self.class_names)
            except CaiTError as error:
                self._refusal = error
                raise
        super().load_own_variables(found)
        self.class_names, self._refusal = self.class_names or names, None


class NamedDense(NamedColumns, keras.layers.Dense):
    """The linear head, and the last layer of an MLP head."""


class Scale(keras.layers.Layer):
    """Multiply by one learned number.

    Args:
        initial: its initial value.
    """

    def __init__(self, initial: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: tuple | None) -> None:
        constant = keras.initializers.Constant(self.initial)
        self.kernel = self.add_weight(name="kernel", shape=(1,), initializer=constant)

    def call(self, x: Any) -> Any:
        return self.kernel * x


class CosineHead(NamedColumns):
    """``scale * cos(features, weight)`` for each class, with a learned scale and no bias.

    The norms of features and weights have no effect. In a linear head, frequent classes get weights
    of larger norm.

    Args:
        units: number of classes C.
        scale: initial scale.

    Source: Gidaris and Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting"
    (arXiv:1804.09458).
    """

    def __init__(self, units: int, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.scale = Scale(scale, dtype=self.dtype_policy, name="scale")

    def build(self, input_shape: tuple) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=trunc_normal()
        )  # (D, C)
        self.scale.build(None)

    def call(self, features: Any, training: bool = False) -> Any:
        directions = ops.normalize(self.kernel, axis=0)  # (D, C)
        return self.scale(ops.matmul(ops.normalize(features, axis=-1), directions))  # (B, C)


class BatchNormHead(keras.layers.Layer):
    """Linear, after BatchNorm without learned scale and offset: the linear probe of MAE.

    Training uses the statistics of the whole batch, over all replicas. Inference uses their moving
    averages. The names follow timm's `NormMlpClassifierHead`: ``norm`` and ``fc``.

    Args:
        units: number of classes C.

    Source: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners" (arXiv:2111.06377),
    appendix A.1. Momentum and epsilon are those of the authors' ``main_linprobe.py``.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm = keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-6,
            center=False,
            scale=False,
            synchronized=keras.backend.backend() == "tensorflow",  # Keras: TensorFlow only
            dtype=self.dtype_policy,
            name="norm",
        )
        self.fc = NamedDense(
            units, kernel_initializer=trunc_normal(), dtype=self.dtype_policy, name="fc"
        )

    def build(self, input_shape: tuple) -> None:
        self.norm.build(input_shape)
        self.fc.build(input_shape)

    def call(self, features: Any, training: bool = False) -> Any:
        return self.fc(self.norm(features, training=training))  # (B, C)


class PatchHead(keras.layers.Layer):
    """LayerNorm and one linear layer on each patch token: (B, h, w, D) to logits (B, h, w, C).

    The linear protocol for segmentation of DINOv2 (Oquab et al. 2023, arXiv:2304.07193) has a BatchNorm in
    place of the LayerNorm. LayerNorm has no statistics of a batch, so micro-batches, the number of devices
    and the batch size do not change the logits of an image.

    Args:
        units: number of classes C.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_norm = layer_norm("patch_norm", self.dtype_policy)
        self.fc = NamedDense(
            units, kernel_initializer=trunc_normal(), dtype=self.dtype_policy, name="fc"
        )

    def build(self, input_shape: tuple) -> None:
        self.patch_norm.build(input_shape)
        self.fc.build(input_shape)

    def call(self, features: Any, training: bool = False) -> Any:
        return self.fc(self.patch_norm(features))  # (B, h, w, C)


def is_batch_statistic(path: str) -> bool:
    """Whether the variable at `path` is a statistic of batches, which the training step updates."""
    return path.rsplit("/", 1)[-1] in ("moving_mean", "moving_variance")


def is_statistic(path: str) -> bool:
    """Whether the variable at `path` is a statistic of batches or targets, which no optimizer trains."""
    return is_batch_statistic(path) or path.endswith(("/target_scale/mean", "/target_scale/std"))


class MLPHead(keras.layers.Layer):
    """Linear, GELU, dropout, linear. The names are those of timm's `Mlp`: ``fc1`` and ``fc2``.

    Args:
        units: number of classes C.
        hidden: width of the hidden layer.
        drop_rate: dropout rate of the hidden layer.
    """

    def __init__(self, units: int, hidden: int, drop_rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shared = {"kernel_initializer": trunc_normal(), "dtype": self.dtype_policy}
        self.fc1 = keras.layers.Dense(hidden, name="fc1", **shared)
        self.drop = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy)
        self.fc2 = NamedDense(units, name="fc2", **shared)

    def build(self, input_shape: tuple) -> None:
        self.fc1.build(input_shape)
        self.fc2.build((None, self.fc1.units))

    def call(self, features: Any, training: bool = False) -> Any:
        hidden = gelu(self.fc1(features))  # (B, H)
        return self.fc2(self.drop(hidden, training=training))  # (B, C)


def class_columns(head: keras.layers.Layer) -> NamedColumns:
    """Return the layer of a head that has a column for each class."""
    match head:
        case MLPHead():
            return head.fc2
        case BatchNormHead() | PatchHead():
            return head.fc
    return head


#: The heads by name, each with its options and their defaults.
OPTIONS: dict[str, dict[str, float | int]] = {
    "linear": {},
    "mlp": {"hidden": 512, "drop_rate": 0.0},
    "cosine": {"scale": 16.0},
    "batchnorm_linear": {},
}
#: The heads of `cait_tf.CaiTSegmenter`, which give logits for each patch, in the form of `OPTIONS`.
OF_PATCHES: dict[str, dict[str, float | int]] = {"linear_segmentation": {}}


def build_head(
    kind: str,
    units: int,
    dtype: Any,
    known: Mapping[str, Mapping[str, Any]] = OPTIONS,
    **options: Any,
) -> NamedDense | CosineHead | MLPHead | BatchNormHead | PatchHead:
    """Return the head that `kind` names, called ``head``.

    Args:
        units: number of classes.
        known: the allowed kinds, each with its options and their defaults.
        options: the options of the kind. Missing options have the defaults in `known`.

    Raises:
        CaiTError: the kind is unknown, or has no such option.
    """
    if kind not in known:
        raise CaiTError(f"head: got {kind!r}, expected one of {', '.join(known)}")
    if strangers := options.keys() - known[kind].keys():
        own = ", ".join(known[kind]) or "none"
        raise CaiTError(
            f"head: got the option {min(strangers)} with head {kind!r}, expected of its options: {own}"
        )
    makers: dict[str, Callable[..., Any]] = {
        "linear": lambda **named: NamedDense(units, kernel_initializer=trunc_normal(), **named),
        "mlp": lambda **named: MLPHead(units, **named),
        "cosine": lambda **named: CosineHead(units, **named),
        "batchnorm_linear": lambda **named: BatchNormHead(units, **named),
        "linear_segmentation": lambda **named: PatchHead(units, **named),
    }
    return makers[kind](**{**known[kind], **options}, dtype=dtype, name="head")
