"""Test-time augmentation: several views of an image, whose probabilities are averaged.

Views are files again, without loss, so that every kind of model takes them. The unchanged view is the
file itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from cait_finetune.data.decode import decode
from cait_finetune.inference.backends import Backend

#: Of the shorter side; 224 of 256 pixels are the ratio of most published ten-crop accuracies.
_CROP = 7 / 8

Views = Callable[[bytes], list[bytes]]


class Averaged:
    """A `Backend` that gives the mean probabilities of several views of each file."""

    def __init__(self, backend: Backend, views: Views) -> None:
        self.class_names = backend.class_names
        self._backend = backend
        self._views = views

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """As `Backend`."""
        by_view = zip(*map(self._views, files), strict=True)
        return np.mean([self._backend(view) for view in by_view], axis=0)  # (B, C)


def build_views(name: str, upright: bool) -> Views:
    """From the bytes of a file to those of its views.

    ``flip`` is the file and its mirror image; ``five_crop`` the squares in the corners and in the
    middle, with 7/8 of the shorter side; ``ten_crop`` these and their mirror images (Krizhevsky et
    al. 2012).

    Args:
        upright: whether photographs are turned as their EXIF says, as the model was trained.

    Raises (when called):
        tf.errors.InvalidArgumentError: no image.
    """
    decoded = tf.function(
        lambda data: decode(data, upright),
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
    )

    def views(data: bytes) -> list[bytes]:
        image = decoded(data)  # (h, w, 3)
        if name == "flip":
            return [data, _file(_mirrored(image))]
        crops = five_crops(image)
        if name == "ten_crop":
            crops += [_mirrored(crop) for crop in crops]
        return [_file(crop) for crop in crops]

    return views


def five_crops(image: tf.Tensor) -> list[tf.Tensor]:
    """``(h, w, 3)`` to five of ``(s, s, 3)``: top left, top right, the bottom two, the middle."""
    height, width = image.shape[:2]
    side = max(1, round(_CROP * min(height, width)))
    bottom, right = height - side, width - side
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return [image[top : top + side, left : left + side] for top, left in corners]


def _mirrored(image: tf.Tensor) -> tf.Tensor:
    return image[:, ::-1]


def _file(image: tf.Tensor) -> bytes:
    return tf.io.encode_png(image, compression=0).numpy()
