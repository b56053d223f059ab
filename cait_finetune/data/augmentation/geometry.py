"""Shearing, turning and moving, as PIL does: ``(S, S, 3)`` uint8 to the same.

What comes from outside the image is `FILL`. The operations take the place of keras-cv's RandomShear,
RandomRotation and RandomTranslation (0.9.0), which draw from a generator of their own and use the
projective kernel for everything: 2.2 to 4.2 ms of CPU time for an image of 224 pixels. Copying takes
0.03, resampling line by line 0.5 to 0.8, and turning, for which that kernel is best, 1.3 ms.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

#: The mean colour of ImageNet, in grey levels.
FILL = (124.0, 116.0, 104.0)
_FILL = np.array(FILL, "uint8")
_ROUNDING = 1e-3  # grey levels: more than float32 errs by, where the result is cut off


def shear_x(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """A pixel shows what is ``factor * y`` to the right of it."""
    return _to_levels(_sheared(_from_fill(image), factor))


def shear_y(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """A pixel shows what is ``factor * x`` below it."""
    columns = tf.transpose(_from_fill(image), [1, 0, 2])  # (W, H, 3)
    return _to_levels(tf.transpose(_sheared(columns, factor), [1, 0, 2]))


def rotate(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Counterclockwise about the centre."""
    height, width = image.shape[:2]
    angle = degrees * (math.pi / 180.0)
    x, y = (width - 1) / 2, (height - 1) / 2
    # Where a pixel comes from is (a x + b y + c, d x + e y + f); these are of cosine, sine and 1.
    parts = [[1, 0, -x, 0, 1, -y, 0, 0], [0, -1, y, 1, 0, -x, 0, 0], [0, 0, x, 0, 0, y, 0, 0]]
    transform = tf.stack([[tf.cos(angle), tf.sin(angle), 1.0]]) @ np.array(parts, "float32")
    turned = tf.raw_ops.ImageProjectiveTransformV3(
        images=_from_fill(image)[None],
        transforms=transform,  # (1, 8)
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return _to_levels(turned[0])


def translate_x(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """A pixel shows what is so many to the right of it, an int32 of at most the width."""
    height, width = image.shape[:2]
    lines = tf.reshape(image, [height, width * 3])
    beside = tf.constant(np.tile(_FILL, (height, width)))  # (H, W * 3)
    start, size = 3 * tf.abs(pixels), 3 * width
    moved = tf.cond(
        pixels > 0,
        lambda: tf.concat([lines[:, start:], beside[:, :start]], axis=1),
        lambda: tf.concat([beside[:, :start], lines[:, : size - start]], axis=1),
    )
    return tf.reshape(moved, image.shape)


def translate_y(image: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """A pixel shows what is so many below it, an int32 of at most the height."""
    height, width = image.shape[:2]
    beside = tf.constant(np.tile(_FILL, (height, width, 1)))  # (H, W, 3)
    start = tf.abs(pixels)
    moved = tf.cond(
        pixels > 0,
        lambda: tf.concat([image[start:], beside[:start]], axis=0),
        lambda: tf.concat([beside[:start], image[: height - start]], axis=0),
    )
    return tf.ensure_shape(moved, image.shape)


def _sheared(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Each line taken from further right than the one above, by `factor` pixels; 0 from outside.

    Every line is an image of its own to CropAndResize, which interpolates along it.
    """
    height, width = image.shape[:2]
    middle = (np.arange(height, dtype="float32") + 0.5) / (width - 1)  # (H,)
    sides = np.stack([0 * middle, middle, 0 * middle, middle], axis=1)  # (H, 4)
    return tf.raw_ops.CropAndResize(
        image=image[:, None],  # (H, 1, W, 3)
        boxes=factor * sides + np.array([0, 0, 0, 1], "float32"),
        box_ind=np.arange(height),
        crop_size=[1, width],
        extrapolation_value=0.0,
    )[:, 0]


def _from_fill(image: tf.Tensor) -> tf.Tensor:
    """The difference to the fill colour, which is what the kernels' 0 then stands for."""
    height, width = image.shape[:2]
    lines = tf.cast(tf.reshape(image, [height, width * 3]), tf.float32)
    return tf.reshape(lines - tf.constant(FILL * width), image.shape)


def _to_levels(difference: tf.Tensor) -> tf.Tensor:
    """Back from the difference, cut off to whole levels as PIL does."""
    height, width = difference.shape[:2]
    offset = tf.constant([level + _ROUNDING for level in FILL] * width)
    lines = tf.reshape(difference, [height, width * 3]) + offset
    return tf.cast(tf.reshape(lines, [height, width, 3]), tf.uint8)
