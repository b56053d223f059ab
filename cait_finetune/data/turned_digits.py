"""scikit-learn's handwritten digits, each turned by a random angle, as a TFDS data set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from cait_finetune.data.digits import divided_digits

_SEED = 20261202  # seed of the angles: another seed gives another data set
_MOST = 60.0  # degrees
_SIZE = 32  # pixels
_SCALE = 3.2  # pixels per pixel of a digit: a digit turned by 45 degrees still fits


class TurnedDigits(tfds.core.GeneratorBasedBuilder):
    """1,797 digits of 32x32 pixels and the angle by which each is turned; the splits of `Digits`.

    The angle is uniform from -60 to 60 degrees. A positive angle turns counterclockwise.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Handwritten digits (E. Alpaydin, C. Kaynak), turned by a random angle.",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(_SIZE, _SIZE, 1), encoding_format="png"),
                    "angle": tfds.features.Scalar(np.float32),
                }
            ),
            supervised_keys=("image", "angle"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        images, _, splits = divided_digits()
        angles = np.random.default_rng(_SEED).uniform(-_MOST, _MOST, len(images))
        return {
            name: self._generate_examples(images, angles.astype("float32"), rows)
            for name, rows in splits.items()
        }

    def _generate_examples(
        self, images: np.ndarray, angles: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[int, dict]]:
        for row in rows:
            turned = turn(images[row, :, :, 0], float(angles[row]))
            yield int(row), {"image": turned[..., None], "angle": angles[row]}


def turn(image: np.ndarray, degrees: float) -> np.ndarray:
    """Enlarge a digit and turn it counterclockwise about its middle, in one cubic interpolation.

    Args:
        image: ``(8, 8)`` uint8.

    Returns:
        ``(32, 32)`` uint8. The border is black.
    """
    from scipy.ndimage import affine_transform

    angle = np.deg2rad(degrees)
    # Maps (row, column) of the new image to (row, column) of the old image. Rows run downwards.
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / _SCALE
    middle_old, middle_new = (np.array(image.shape) - 1) / 2, np.full(2, (_SIZE - 1) / 2)
    turned = affine_transform(
        image.astype(np.float64),
        back,
        offset=middle_old - back @ middle_new,
        output_shape=(_SIZE, _SIZE),
        order=3,
        mode="grid-constant",
    )
    return np.clip(np.round(turned), 0, 255).astype(np.uint8)
