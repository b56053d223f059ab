"""A square of a resized image, in memory of the order of the square."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def resample_square(
    image: tf.Tensor,
    scales: tf.Tensor,
    corner: tf.Tensor,
    size: int,
    interpolation: str,
    antialias: bool,
) -> tf.Tensor:
    """``(h, w, C)`` to the square at `corner` of the image at `scales` times its height and width.

    The pixels, ``(size, size, C)`` float32 in whole grey levels, are those of the whole through
    ``tf.raw_ops.ScaleAndTranslate``, bit for bit. The operation cannot start at a later pixel: it
    rounds a translation, which moves every pixel by a little. This function repeats its arithmetic
    in the same order instead, and is several times slower for each pixel.

    Args:
        scales: ``(2,)`` float32.
        corner: ``(2,)`` int64, top and left.
    """
    rows, columns = (
        _Axis(tf.shape(image)[axis], scales[axis], corner[axis], size, interpolation, antialias)
        for axis in (0, 1)
    )
    image = image[rows.begin : rows.end, columns.begin : columns.end]  # (h', w', C)
    for axis in (columns, rows):
        image = axis.resample(tf.transpose(image, [1, 0, 2]))
    return image


class _Axis:
    """The new lines of an axis from `first` on, and the old lines from `begin` to `end` they need."""

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
        self._middles = (tf.cast(lines, tf.float32) + 0.5) * inverse  # (n,), in old lines
        reach = radius * self._width
        low = tf.cast(tf.math.ceil(self._middles - reach - 0.5), tf.int32)
        high = tf.cast(tf.floor(self._middles + reach - 0.5), tf.int32)
        self._starts = tf.clip_by_value(low, 0, length - 1)  # (n,)
        self._ends = tf.clip_by_value(high, 0, length - 1) + 1
        self.begin, self.end = self._starts[0], self._ends[-1]

    def resample(self, lines: tf.Tensor) -> tf.Tensor:
        """``(end - begin, m, C)`` to ``(n, m, C)``, rounded and clipped."""
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
        return tf.reshape(whole_levels(new), [count, shape[1], shape[2]])

    def _share(self, tap: tf.Tensor) -> tf.Tensor:
        """``(n,)``: of each new line, the share of the old line `tap` after its first one."""
        place = self._starts + tap
        distance = tf.abs((tf.cast(place, tf.float32) + 0.5 - self._middles) * (1.0 / self._width))
        return tf.where(place < self._ends, self._kernel(distance), 0.0)


def whole_levels(x: tf.Tensor) -> tf.Tensor:
    """Overshoot cut off, and the rest rounded to grey levels from 0 to 255, halves up."""
    # min(max(x, 0), 255), then floor(x + .5), in one operation: with 256 levels from 0 to 255 a step is 1.
    return tf.quantization.fake_quant_with_min_max_args(x, min=0, max=255, num_bits=8)


def _triangle(x: tf.Tensor) -> tf.Tensor:
    return tf.where(x < 1.0, 1.0 - x, 0.0)


def _keys_cubic(x: tf.Tensor) -> tf.Tensor:
    near = ((1.5 * x - 2.5) * x) * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return tf.where(x >= 2.0, 0.0, tf.where(x >= 1.0, far, near))


#: By name, the radius and the share of a line at a distance.
_KERNELS: dict[str, tuple[float, Callable[[tf.Tensor], tf.Tensor]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _keys_cubic),
}
