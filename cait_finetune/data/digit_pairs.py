"""Pairs of scikit-learn's handwritten digits as a TFDS data set whose images have several classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from cait_finetune.data.digits import divided_digits

_SEED = 20261203  # seed of the partners and places: another seed gives another data set
_SIZE = 16  # pixels


class DigitPairs(tfds.core.GeneratorBasedBuilder):
    """1,797 images of 16x16 pixels with a digit in each half; the splits of `Digits`.

    Each digit is once in the left and once in the right half, beside a random digit of its split. Its
    height is random.
    ``labels`` lists the one or two different digits.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Pairs of handwritten digits (E. Alpaydin, C. Kaynak).",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(_SIZE, _SIZE, 1), encoding_format="png"),
                    "labels": tfds.features.Sequence(
                        tfds.features.ClassLabel(names=[str(digit) for digit in range(10)])
                    ),
                }
            ),
            supervised_keys=("image", "labels"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        images, digits, splits = divided_digits()
        random = np.random.default_rng(_SEED)
        return {
            name: self._generate_examples(
                images,
                digits,
                rows,
                random.permutation(rows),
                random.integers(9, size=(len(rows), 2)),
            )
            for name, rows in splits.items()
        }

    def _generate_examples(
        self,
        images: np.ndarray,
        digits: np.ndarray,
        left: np.ndarray,
        right: np.ndarray,
        tops: np.ndarray,
    ) -> Iterator[tuple[int, dict]]:
        half = _SIZE // 2
        for pair, top in zip(np.stack([left, right], axis=1), tops, strict=True):
            image = np.zeros((_SIZE, _SIZE, 1), np.uint8)
            for place, (row, first) in enumerate(zip(pair, top, strict=True)):
                image[first : first + half, place * half : (place + 1) * half] = images[row]
            yield (
                int(pair[0]),
                {"image": image, "labels": sorted({int(digits[row]) for row in pair})},
            )
