"""Bytes to a normalised image: the one definition that evaluation and the exported model share."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}


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
        """A part of the image at ``shape``, antialiased, in whole grey levels.

        Like PIL's ``resize(shape, box=...)``: first the columns, then the rows, and after each the
        overshoot of bicubic interpolation is cut off and the rest rounded, halves up.

        ``box`` is top, left, height and width in pixels, and need not be whole: of an image of
        8x8 pixels a box in whole pixels is hardly ever a new one.
        """
        top, left, height, width = (tf.cast(edge, tf.float32) for edge in box)
        rows = tf.shape(image)[0]
        new_height, new_width = (tf.cast(side, tf.float32) for side in shape)
        one, zero = tf.ones_like(top), tf.zeros_like(top)
        across, down = new_width / width, new_height / height
        for size, scale, translation in (
            ((rows, shape[1]), (one, across), (zero, -across * left)),
            (shape, (down, one), (-down * top, zero)),
        ):
            image = tf.raw_ops.ScaleAndTranslate(
                images=image[None],
                size=size,
                scale=scale,
                translation=translation,
                kernel_type=_KERNELS[self.interpolation],
                antialias=True,
            )[0]
            image = tf.clip_by_value(tf.floor(image + 0.5), 0.0, 255.0)
        return image

    def normalise(self, image: tf.Tensor) -> tf.Tensor:
        """0..255 to the scale the backbone was trained on."""
        image = (image / 255.0 - tf.constant(self.mean)) / tf.constant(self.std)
        return tf.ensure_shape(image, (self.image_size, self.image_size, 3))


def decode(image_bytes: tf.Tensor) -> tf.Tensor:
    """JPEG, PNG, GIF (first frame) or BMP bytes to ``(h, w, 3)`` uint8; grey becomes RGB."""
    image = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    image.set_shape((None, None, 3))
    return image
