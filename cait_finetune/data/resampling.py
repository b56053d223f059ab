"""Compute a part of a resized image, with memory in proportion to the part."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def resample_part(
    image: tf.Tensor,
    scales: tf.Tensor,
    corner: tf.Tensor,
    size: tuple[int, int],
    interpolation: str,
    antialias: bool,
    levels: bool = True,
) -> tf.Tensor:
    """Return a part of the resized image: ``(*size, C)`` float32.

    The pixels equal those of the whole image resized by ``tf.raw_ops.ScaleAndTranslate``, bit for
    bit. ScaleAndTranslate cannot start at a later pixel: it rounds a translation, which shifts
    every pixel slightly. `resample_part` therefore repeats the arithmetic of ScaleAndTranslate in
    the same order. `resample_part` is several times slower per pixel.

    Args:
        image: ``(h, w, C)``.
        scales: ``(2,)`` float32: new height and width divided by the old ones.
        corner: ``(2,)`` int64: top and left of the part in the resized image.
        size: height and width of the part, in pixels.
        levels: round to whole grey levels and clip, as in `data.resize.crop_and_resize`.
    """
    rows, columns = (
        _Axis(
            tf.shape(image)[axis], scales[axis], corner[axis], size[axis], interpolation, antialias
        )
        for axis in (0, 1)
    )
    image = image[rows.begin : rows.end, columns.begin : columns.end]  # (h', w', C)
    for axis in (columns, rows):
        image = axis.resample(tf.transpose(image, [1, 0, 2]))
        image = whole_levels(image) if levels else image
    return image


class _Axis:
    """Resample one axis: old lines `begin` to `end` give `count` new lines, starting at `first`."""

    def __init__(
        self,
        length: tf.Tensor,
        scale: tf.Tensor,
        first: tf.Tensor,
        count: int,
        interpolation: str,
        antialias: bool,
    ) -> None:
        radius, self._kernel = _KERNELS[interpolation]
        inverse = 1.0 / scale
        self._width = tf.maximum(inverse, 1.0) if antialias else tf.constant(1.0)
        lines = first + tf.range(count, dtype=tf.int64)  # (n,)
        self._middles = (tf.cast(lines, tf.float32) + 0.5) * inverse  # (n,), in units of old lines
        reach = radius * self._width
        low = tf.cast(tf.math.ceil(self._middles - reach - 0.5), tf.int32)
        high = tf.cast(tf.floor(self._middles + reach - 0.5), tf.int32)
        self._starts = tf.clip_by_value(low, 0, length - 1)  # (n,)
        self._ends = tf.clip_by_value(high, 0, length - 1) + 1
        self.begin, self.end = self._starts[0], self._ends[-1]

    def resample(self, lines: tf.Tensor) -> tf.Tensor:
        """Resample ``(end - begin, m, C)`` to ``(n, m, C)``."""
        shape = tf.shape(lines)
        lines = tf.reshape(lines, [shape[0], -1])  # (end - begin, m * C)
        taps = tf.range(tf.reduce_max(self._ends - self._starts))
        totals = tf.foldl(lambda sum_, tap: sum_ + self._share(tap), taps, self._middles * 0.0)

        def add(new: tf.Tensor, tap: tf.Tensor) -> tf.Tensor:
            old = tf.gather(lines, tf.minimum(self._starts + tap, self._ends - 1) - self.begin)
            share = self._share(tap) * (1.0 / totals)
            return new + share[:, None] * tf.cast(old, tf.float32)

        count = self._middles.shape[0]
        new = tf.foldl(add, taps, tf.zeros([count, tf.shape(lines)[1]]))  # (n, m * C)
        return tf.reshape(new, [count, shape[1], shape[2]])

    def _share(self, tap: tf.Tensor) -> tf.Tensor:
        """Return the kernel weight of old line ``_starts + tap`` in each new line, ``(n,)``."""
        place = self._starts + tap
        distance = tf.abs((tf.cast(place, tf.float32) + 0.5 - self._middles) * (1.0 / self._width))
        return tf.where(place < self._ends, self._kernel(distance), 0.0)


def whole_levels(x: tf.Tensor) -> tf.Tensor:
    """Clip to 0…255 and round to whole grey levels, halves up."""
    # One operation for min(max(x, 0), 255) and floor(x + .5): 256 levels from 0 to 255 have step 1.
    return tf.quantization.fake_quant_with_min_max_args(x, min=0, max=255, num_bits=8)


def _triangle(x: tf.Tensor) -> tf.Tensor:
    return tf.where(x < 1.0, 1.0 - x, 0.0)


def _keys_cubic(x: tf.Tensor) -> tf.Tensor:
    near = ((1.5 * x - 2.5) * x) * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return tf.where(x >= 2.0, 0.0, tf.where(x >= 1.0, far, near))


#: Radius of each kernel, and the function from a distance to a weight.
_KERNELS: dict[str, tuple[float, Callable[[tf.Tensor], tf.Tensor]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _keys_cubic),
}
