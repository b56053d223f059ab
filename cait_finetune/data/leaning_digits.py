"""scikit-learn's handwritten digits, each leaning left or right, as a TFDS data set with two labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from cait_finetune.data.digits import divided_digits
from cait_finetune.data.turned_digits import turn

_SEED = 20261203  # seed of the angles: another seed gives another data set
_LEAST, _MOST = 15.0, 60.0  # degrees
_UNKNOWN = 0.2  # share of the images without a direction
_SIZE = 32  # pixels


class LeaningDigits(tfds.core.GeneratorBasedBuilder):
    """1,797 digits of 32x32 pixels with the labels ``digit`` and ``direction``; the splits of `Digits`.

    A digit is turned by 15 to 60 degrees to the left or to the right. The direction is missing (-1) for
    20 % of the images.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Handwritten digits (E. Alpaydin, C. Kaynak), turned to the left or to the right.",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(_SIZE, _SIZE, 1), encoding_format="png"),
                    "digit": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                    "direction": tfds.features.ClassLabel(names=["left", "right"]),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        images, digits, splits = divided_digits()
        random = np.random.default_rng(_SEED)
        right = random.random(len(images)) < 0.5
        angles = random.uniform(_LEAST, _MOST, len(images)) * np.where(right, -1, 1)
        directions = np.where(random.random(len(images)) < _UNKNOWN, -1, right)
        return {
            name: self._generate_examples(images, digits, directions, angles, rows)
            for name, rows in splits.items()
        }

    def _generate_examples(
        self,
        images: np.ndarray,
        digits: np.ndarray,
        directions: np.ndarray,
        angles: np.ndarray,
        rows: np.ndarray,
    ) -> Iterator[tuple[int, dict]]:
        for row in rows:
            turned = turn(images[row, :, :, 0], float(angles[row]))
            yield (
                int(row),
                {
                    "image": turned[..., None],
                    "digit": int(digits[row]),
                    "direction": int(directions[row]),
                },
            )
