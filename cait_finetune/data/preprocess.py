"""Bytes to a normalised image: the one definition that evaluation and the exported model share."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from cait_finetune.data.resize import crop_and_resize


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image is brought to the model.

    The shorter side is resized to ``image_size / crop_pct`` (antialiased), the centre square of
    ``image_size`` is cut out, and ``(x / 255 - mean) / std`` is applied: torchvision's Resize,
    CenterCrop and Normalize.
    """

    image_size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """``(h, w, 3)`` uint8 of any size to ``(S, S, 3)`` float32."""
        size = self.image_size
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        short = math.floor(size / self.crop_pct)
        scaled_height = tf.where(height < width, short, short * height // width)
        scaled_width = tf.where(height < width, short * width // height, short)
        image = self.resize(image, (scaled_height, scaled_width))  # (R, R', 3)
        top = tf.cast(tf.round(tf.cast(scaled_height - size, tf.float32) / 2), tf.int32)
        left = tf.cast(tf.round(tf.cast(scaled_width - size, tf.float32) / 2), tf.int32)
        return self.normalise(image[top : top + size, left : left + size])

    def resize(self, image: tf.Tensor, shape: tuple) -> tf.Tensor:
        """The whole image at ``shape``, as `crop_and_resize`."""
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        return self.crop_and_resize(image, (0, 0, height, width), shape)

    def crop_and_resize(self, image: tf.Tensor, box: tuple, shape: tuple) -> tf.Tensor:
        """`data.resize.crop_and_resize`, with this interpolation."""
        return crop_and_resize(image, box, shape, self.interpolation)

    def normalise(self, image: tf.Tensor) -> tf.Tensor:
        """``(S, S, 3)``, 0..255, to the scale the backbone was trained on."""
        size = self.image_size
        image = tf.reshape(image, [size, size * 3])  # broadcasting over three values is slow
        mean, std = (
            tf.constant([255.0 * value for value in values] * size)  # (S * 3,)
            for values in (self.mean, self.std)
        )
        return tf.reshape((image - mean) / std, [size, size, 3])


def decode(image_bytes: tf.Tensor) -> tf.Tensor:
    """JPEG, PNG, GIF (first frame) or BMP bytes to ``(h, w, 3)`` uint8; grey becomes RGB."""
    image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image
