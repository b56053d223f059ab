"""Turn pixels into model input: one definition for training, evaluation and the exported model."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from cait_finetune.config import PreprocessingConfig
from cait_finetune.config.preprocessing import AUTO
from cait_finetune.data.bands import RGB, decode_bands
from cait_finetune.data.decode import decode
from cait_finetune.data.resize import crop_and_resize, resize_and_crop
from cait_finetune.errors import bad_value
from cait_tf.arguments import image_shape
from cait_tf.geometry import centre_crop, padded_box

_SHOWN_PERCENTILES = (2, 98)  # of a band in an image


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalise an image for the model.

    The result is ``(x / 255 - mean) / std`` of an RGB image in 8-bit levels, and ``(x - mean) / std`` of
    an image with another number of channels C, in the unit of `data.bands`. C is the length of `mean`.

    Attributes:
        image_size: height H and width W of the model's input, in pixels, or one side of a square.
        crop_pct: share of the resized image's side that the centre crop keeps. ``pad`` ignores it.
        interpolation: ``bilinear`` or ``bicubic``.
        resize_mode: ``shorter_side``: resize the image to cover ``image_size / crop_pct``, keep its aspect
            ratio, and crop the centre. For a square input, torchvision's Resize and CenterCrop do the
            same. ``squash``: resize both sides to ``image_size / crop_pct`` and crop the centre.
            ``pad``: resize the whole image to fit in ``image_size`` and pad the rest with black.
        antialias: widen the kernel when shrinking, as PIL does. TensorFlow does not by default.
        upright: turn JPEGs as their EXIF orientation states.
    """

    image_size: tuple[int, int]
    crop_pct: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_mode: str = "shorter_side"
    antialias: bool = True
    upright: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", image_shape(self.image_size))

    @property
    def channels(self) -> int:
        """The number C of channels."""
        return len(self.mean)

    @property
    def bands(self) -> bool:
        """Whether images are float32 bands, not 8-bit levels of red, green and blue."""
        return self.channels != RGB

    @property
    def dtype(self) -> tf.DType:
        """The type of decoded images."""
        return tf.float32 if self.bands else tf.uint8

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """Turn a decoded image ``(h, w, C)`` of any size into normalised ``(H, W, C)`` float32."""
        return self.normalise(self.fit(image))

    def decode(self, data: tf.Tensor) -> tf.Tensor:
        """Decode the bytes of a file: ``(h, w, 3)`` uint8, or ``(h, w, C)`` float32 of bands."""
        if self.bands:
            return decode_bands(data, self.channels, self.upright)
        return decode(data, self.upright)

    def fit(self, image: tf.Tensor) -> tf.Tensor:
        """Resize and crop ``(h, w, C)`` to ``(H, W, C)`` float32; RGB in whole grey levels."""
        size = self.image_size
        if self.resize_mode == "pad":
            sides = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
            corner, box = padded_box(sides, size, tf.maximum)
            return self.crop_and_resize(image, (*corner, *box), size)
        # int64, because the longer side of a resized narrow strip can exceed int32.
        sides = tf.unstack(tf.shape(image, tf.int64)[:2])
        scaled, corner = (
            tf.cast(tf.stack(pair), tf.int64)
            for pair in centre_crop(sides, size, self.crop_pct, self.resize_mode, tf.maximum)
        )
        return resize_and_crop(
            image, scaled, corner, size, self.interpolation, self.antialias, not self.bands
        )

    def resize(self, image: tf.Tensor, shape: tuple) -> tf.Tensor:
        """Resize the whole image to `shape`, as `crop_and_resize` does."""
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        return self.crop_and_resize(image, (0, 0, height, width), shape)

    def crop_and_resize(self, image: tf.Tensor, box: tuple, shape: tuple) -> tf.Tensor:
        """Call `data.resize.crop_and_resize` with this interpolation and antialiasing."""
        return crop_and_resize(
            image, box, shape, self.interpolation, self.antialias, not self.bands
        )

    def normalise(self, image: tf.Tensor) -> tf.Tensor:
        """Normalise ``(H, W, C)`` with `mean` and `std`; RGB in grey levels from 0 to 255."""
        height, width = self.image_size
        channels, unit = self.channels, 1.0 if self.bands else 255.0
        image = tf.reshape(
            image, [height, width * channels]
        )  # broadcasting over few values is slow
        mean, std = _of_a_row(self.mean, width, unit), _of_a_row(self.std, width, unit)
        return tf.reshape((image - mean) / std, [height, width, channels])

    def normalise_levels(self, images: tf.Tensor) -> tf.Tensor:
        """Normalise a batch ``(B, H, W, 3)`` uint8 to float32.

        XLA does so in one pass over the memory. The last bit can differ from `normalise`, because
        XLA multiplies by the reciprocal of `std`. A batch of uint8 images is also faster to
        assemble than a batch of float32 images.
        """
        return _normalised(images, self.mean, self.std)

    def denormalise(self, images: np.ndarray) -> np.ndarray:
        """Turn normalised images ``(B, H, W, C)`` into pictures ``(B, H, W, 3)`` from 0 to 1.

        One or two bands give a grey picture of the first; more give the first three as red, green and
        blue. Each shown band is stretched between its 2nd and 98th percentile in the image.
        """
        if self.bands:
            return _stretched(images * np.array(self.std) + np.array(self.mean))
        return np.clip(images * np.array(self.std) + np.array(self.mean), 0, 1)


@tf.function(jit_compile=True, autograph=False)
def _normalised(images: tf.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> tf.Tensor:
    width = images.shape[2]
    levels = tf.cast(tf.reshape(images, [-1, width * 3]), tf.float32)  # a shape that XLA vectorises
    return tf.reshape((levels - _of_a_row(mean, width)) / _of_a_row(std, width), images.shape)


def _of_a_row(values: tuple[float, ...], width: int, unit: float = 255.0) -> tf.Tensor:
    """Return `values` times `unit`, repeated for a row of `width` pixels: ``(width * C,)``."""
    return tf.constant([unit * value for value in values] * width)


def _stretched(images: np.ndarray) -> np.ndarray:
    """Return pictures ``(B, H, W, 3)`` from 0 to 1 of bands ``(B, H, W, C)``."""
    shown = images[..., :RGB] if images.shape[-1] > RGB else images[..., :1]
    low, high = np.percentile(shown, _SHOWN_PERCENTILES, axis=(1, 2), keepdims=True)
    stretched = np.clip((shown - low) / np.maximum(high - low, 1e-12), 0, 1)
    return np.broadcast_to(stretched, (*images.shape[:-1], RGB)).astype("float32")


def automatic(config: PreprocessingConfig, channels: int) -> list[str]:
    """Return which of ``mean`` and ``std`` a training run computes from its images."""
    unset = (AUTO,) if channels == RGB else (AUTO, None)  # variants have statistics of RGB only
    return [key for key in ("mean", "std") if getattr(config, key) in unset]


class Own(Protocol):
    """The preprocessing that a variant of the model was trained with."""

    image_size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def configured(
    config: PreprocessingConfig,
    own: Own,
    image_size: int | list[int] | None,
    upright: bool,
    channels: int = RGB,
) -> Preprocessing:
    """Return the variant's own preprocessing with the values that the configuration overrides.

    Args:
        config: `None` in a key: the variant's own value.
        own: the variant's own preprocessing.
        image_size: one side or [height, width], in pixels. `None`: the variant's own.
        upright: turn JPEGs as their EXIF orientation states.
        channels: the number of channels.

    Raises:
        UserError: the mean or the standard deviation is automatic, which only a training run computes.
    """

    def chosen(key: str) -> Any:
        said = getattr(config, key)
        return getattr(own, key) if said is None else said

    for key in automatic(config, channels):
        raise bad_value(
            f"preprocessing.{key}",
            "auto, which a training run computes",
            f"a number for each of the {channels} channels in a command that does not train",
            f"Give the run: run=DIR, or set preprocessing.{key} to its numbers.",
        )

    return Preprocessing(
        image_shape(image_size or own.image_size),
        chosen("crop_pct"),
        chosen("interpolation"),
        tuple(chosen("mean")),
        tuple(chosen("std")),
        config.resize_mode,
        config.antialias,
        upright,
    )
