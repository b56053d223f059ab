"""Test-time augmentation: average the probabilities over several views of an image.

Each view is encoded as a lossless image file, because every `Backend` takes files. The unchanged
view is the original file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from cait_finetune.data.decode import decode
from cait_finetune.inference.backends import Backend

#: Sides of a crop relative to the part of the image that it may cover. Most published ten-crop accuracies use
#: 224 of 256 pixels.
_CROP = 7 / 8

Views = Callable[[bytes], list[bytes]]


class Averaged:
    """Average the probabilities of a `Backend` over several views of each file."""

    def __init__(self, backend: Backend, views: Views) -> None:
        self.class_names = backend.class_names
        self.several = backend.several
        self._backend = backend
        self._views = views

    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        """Classify files, as `Backend` does."""
        by_view = zip(*map(self._views, files), strict=True)
        values = np.mean([self._backend(view) for view in by_view], axis=0)  # (B, C)
        # The intervals of numbers hold for the prediction of one view.
        return values[..., :1] if values.ndim == 3 else values


def build_views(name: str, upright: bool, ratio: float | None = 1.0) -> Views:
    """Return a function from the bytes of an image file to the bytes of its views.

    The function raises `tf.errors.InvalidArgumentError` for a file that is not an image.

    Args:
        name: ``flip``: the file and its mirror image. ``five_crop``: the corners and the centre, as
            `five_crops`. ``ten_crop``: the five crops and their mirror images (Krizhevsky et al. 2012).
        upright: whether to rotate photographs by their EXIF orientation, as in training.
        ratio: as for `five_crops`. Pass `None` with ``resize_mode`` squash or pad: the model was
            trained on whole images, so a crop must keep the image's aspect ratio.
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
        crops = five_crops(image, ratio)
        if name == "ten_crop":
            crops += [_mirrored(crop) for crop in crops]
        return [_file(crop) for crop in crops]

    return views


def five_crops(image: tf.Tensor, ratio: float | None = 1.0) -> list[tf.Tensor]:
    """Return five crops ``(s, t, 3)`` of an image ``(h, w, 3)``.

    The order is top left, top right, bottom left, bottom right, centre.

    Args:
        ratio: height divided by width of the model's input. The sides of a crop are 7/8 of the sides
            of the largest part with this ratio. `None`: 7/8 of the height and 7/8 of the width.
    """
    height, width = sides = image.shape[:2]
    if ratio is not None:
        sides = (min(height, width * ratio), min(width, height / ratio))
    tall, wide = (max(1, round(_CROP * side)) for side in sides)
    bottom, right = height - tall, width - wide
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return [image[top : top + tall, left : left + wide] for top, left in corners]


def _mirrored(image: tf.Tensor) -> tf.Tensor:
    return image[:, ::-1]


def _file(image: tf.Tensor) -> bytes:
    return tf.io.encode_png(image, compression=0).numpy()
