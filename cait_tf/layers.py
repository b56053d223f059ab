"""The small layers of CaiT, in `keras.ops`. They run on every Keras backend.

The layers compute as in "Going deeper with Image Transformers" (Touvron et al. 2021,
https://arxiv.org/abs/2103.17239), the authors' code and timm's ``models/cait.py``. Layer and
variable names follow timm, so that a weight's timm name follows from its path.

Shapes: B images, N patches, D ``embed_dim``.

Mixed precision: matrix products run in the compute dtype. The residual stream, LayerNorm,
LayerScale and softmax stay in float32. A gamma of 1e-6 is subnormal in float16, and a bfloat16
residual loses an update of that size. PyTorch's autocast promotes the same operations.
"""

from __future__ import annotations

import math
from typing import Any

import keras

from cait_tf.keras_ops import ops
from cait_tf.variants import KERNEL_INIT

LAYER_NORM_EPSILON = 1e-6
_HALF = ("float16", "bfloat16")


def stable_dtype(policy: keras.DTypePolicy) -> str:
    """Return the dtype of operations that must not run in half precision under `policy`."""
    return "float32" if policy.compute_dtype in _HALF else policy.compute_dtype


def trunc_normal(stddev: float = KERNEL_INIT) -> Any:
    """Return the authors' initializer of linear layers: a truncated normal.

    The type is `Any`: Keras' initializer arguments default to text, so type checkers expect text.
    """
    return keras.initializers.TruncatedNormal(stddev=stddev)


def dense(
    units: int, name: str, policy: keras.DTypePolicy, kernel_init: float
) -> keras.layers.Dense:
    """Return a linear layer whose new kernel has standard deviation `kernel_init`."""
    return keras.layers.Dense(
        units, kernel_initializer=trunc_normal(kernel_init), dtype=policy, name=name
    )


def layer_norm(
    name: str, policy: keras.DTypePolicy, output_dtype: str | None = None
) -> LayerNormalization:
    """Return a LayerNorm with CaiT's epsilon of 1e-6 (Keras' default is 1e-3).

    The layer never computes in half precision.

    Args:
        output_dtype: dtype of the output. `None`: the dtype in which the layer computes.
    """
    layer = LayerNormalization(epsilon=LAYER_NORM_EPSILON, dtype=stable_dtype(policy), name=name)
    layer.output_dtype = output_dtype
    return layer


class LayerNormalization(keras.layers.LayerNormalization):
    """Keras' LayerNorm over the last axis, ``(..., D)``, with an optional cast of the output.

    The class keeps Keras' name, because Keras' weight files name layers by their class.
    """

    output_dtype: str | None = None

    def call(self, inputs: Any, training: bool = False) -> Any:
        dtype = self.output_dtype or keras.backend.standardize_dtype(inputs.dtype)
        centred = inputs - ops.mean(inputs, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)  # (..., 1)
        y = centred * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta
        return ops.cast(y, dtype)


def gelu(x: Any) -> Any:
    """Return exact GELU, ``x Φ(x)``, in the shape and dtype of `x`, computed in float32 or float64.

    The formula uses erf. TensorFlow's own exact GELU lowers to `erfc`, which ONNX does not have.
    """
    wide = keras.backend.standardize_dtype(x.dtype) == "float64"
    y = x if wide else ops.cast(x, "float32")
    return ops.cast(0.5 * y * (1.0 + ops.erf(y * (1.0 / math.sqrt(2.0)))), x.dtype)


def softmax(x: Any) -> Any:
    """Return the softmax over the last axis in the dtype of `x`, never computed in half precision."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    wide = "float32" if dtype in _HALF else dtype
    return ops.cast(ops.softmax(ops.cast(x, wide), axis=-1), dtype)


def without_autocast(config: dict) -> dict:
    """Return `config` without ``autocast``, which the layer sets itself. The key may be absent."""
    return {key: value for key, value in config.items() if key != "autocast"}


class PatchEmbed(keras.layers.Layer):
    """Cut the image into patches and project each: ``(B, h, w, c) -> (B, N, D)``."""

    def __init__(self, patch_size: int, embed_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        # The authors keep torch's default initializer of a convolution: U(±1/sqrt(fan_in)).
        initializer: Any = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.proj = keras.layers.Conv2D(
            embed_dim,
            patch_size,
            strides=patch_size,
            data_format="channels_last",
            kernel_initializer=initializer,
            dtype=self.dtype_policy,
            name="proj",
        )

    def build(self, input_shape: tuple) -> None:
        self.proj.build(input_shape)

    def call(self, images: Any) -> Any:
        x = self.proj(images)  # (B, h/p, w/p, D)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], self.embed_dim))  # (B, N, D)

    def get_config(self) -> dict:
        own = {"patch_size": self.patch_size, "embed_dim": self.embed_dim}
        return {**super().get_config(), **own}


class LayerScale(keras.layers.Layer):
    """Multiply each channel by a learned gamma, in float32: ``(..., D) -> (..., D)``."""

    def __init__(self, init_value: float, **kwargs: Any) -> None:
        # `call` casts `y` itself.
        super().__init__(autocast=False, **kwargs)
        self.init_value = init_value

    def build(self, input_shape: tuple) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.init_value),
            name="gamma",
        )

    def call(self, y: Any) -> Any:
        return ops.cast(y, self.compute_dtype) * self.gamma

    def get_config(self) -> dict:
        return {**without_autocast(super().get_config()), "init_value": self.init_value}


class DropPath(keras.layers.Layer):
    """Stochastic depth: drop a residual branch for whole examples, and rescale the kept branches.

    Huang et al. 2016, https://arxiv.org/abs/1603.09382. Identity outside training.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate: got {rate}, expected a number in [0, 1)")
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator() if rate else None

    def call(self, x: Any, training: bool = False) -> Any:
        factor = self.draw(x, training)
        return x if factor is None else x * factor

    def draw(self, x: Any, training: bool) -> Any | None:
        """Return a random factor for each example's branch, ``(B, 1, ..)``: 0 or 1 / (1 - rate).

        Returns:
            `None`: outside training, or with rate 0.
        """
        if not training or not self.rate:
            return None
        keep = 1.0 - self.rate
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)  # (B, 1, ..)
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return ops.cast(uniform < keep, self.compute_dtype) * (1.0 / keep)

    def get_config(self) -> dict:
        return {**super().get_config(), "rate": self.rate}


class Mlp(keras.layers.Layer):
    """Two dense layers with an exact GELU between: ``(B, N, D) -> (B, N, D)``."""

    def __init__(
        self,
        hidden_dim: int,
        embed_dim: int,
        drop_rate: float = 0.0,
        kernel_init: float = KERNEL_INIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.embed_dim = embed_dim
        self.drop_rate = drop_rate
        self.kernel_init = kernel_init
        self.fc1 = dense(hidden_dim, "fc1", self.dtype_policy, kernel_init)
        self.fc2 = dense(embed_dim, "fc2", self.dtype_policy, kernel_init)
        self.drop1 = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy)
        self.drop2 = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        self.fc1.build(input_shape)
        self.fc2.build((*input_shape[:-1], self.hidden_dim))

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.drop1(gelu(self.fc1(x)), training=training)  # (B, N, hidden)
        return self.drop2(self.fc2(x), training=training)  # (B, N, D)

    def get_config(self) -> dict:
        own = {
            "hidden_dim": self.hidden_dim,
            "embed_dim": self.embed_dim,
            "drop_rate": self.drop_rate,
            "kernel_init": self.kernel_init,
        }
        return {**super().get_config(), **own}
