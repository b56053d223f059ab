"""Shear, rotate and translate a ``(H, W, 3)`` uint8 image as PIL does.

Pixels from outside the image get the colour `FILL`. The operations replace keras-cv's RandomShear,
RandomRotation and RandomTranslation (0.9.0), which draw from their own random generator and use the
projective kernel for everything. The kernel is fastest for rotations only: copying is faster for
translations, and resampling line by line is faster for shears.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

#: The mean colour of ImageNet, in grey levels.
FILL = (124.0, 116.0, 104.0)
_FILL = np.array(FILL, "uint8")
_ROUNDING = 1e-3  # grey levels, added before truncation: more than the rounding error of float32


def shear_x(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Shear along x: pixel (x, y) of the result shows (x + factor * y, y) of the image.

    y is the distance of the pixel's centre from the top edge.
    """
    return _to_levels(_sheared(_from_fill(image), factor))


def shear_y(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Shear along y: pixel (x, y) of the result shows (x, y + factor * x) of the image.

    x is the distance of the pixel's centre from the left edge.
    """
    columns = tf.transpose(_from_fill(image), [1, 0, 2])  # (W, H, 3)
    return _to_levels(tf.transpose(_sheared(columns, factor), [1, 0, 2]))


def rotate(image: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    """Rotate counterclockwise about the centre, with bilinear interpolation."""
    height, width = image.shape[:2]
    angle = degrees * (math.pi / 180.0)
    x, y = (width - 1) / 2, (height - 1) / 2
    # Pixel (x, y) of the result shows (a x + b y + c, d x + e y + f) of the image. The three lists are
    # the coefficients of cosine, sine and 1 in a, b, c, d, e and f.
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
    """Translate along x: pixel (x, y) of the result shows (x + pixels, y) of the image.

    Args:
        pixels: () int32, from minus the width to the width.
    """
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
    """Translate along y: pixel (x, y) of the result shows (x, y + pixels) of the image.

    Args:
        pixels: () int32, from minus the height to the height.
    """
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
    """Shift each line left by `factor` pixels more than the line above. Pixels from outside are 0.

    Each line is a separate image for CropAndResize, which interpolates along the line.
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
    """Subtract the fill colour, float32. The kernels fill with 0, which then means the fill colour."""
    height, width = image.shape[:2]
    lines = tf.cast(tf.reshape(image, [height, width * 3]), tf.float32)
    return tf.reshape(lines - tf.constant(FILL * width), image.shape)


def _to_levels(difference: tf.Tensor) -> tf.Tensor:
    """Add the fill colour to the difference, and truncate to uint8 as PIL does."""
    height, width = difference.shape[:2]
    offset = tf.constant([level + _ROUNDING for level in FILL] * width)
    lines = tf.reshape(difference, [height, width * 3]) + offset
    return tf.cast(tf.reshape(lines, [height, width, 3]), tf.uint8)
