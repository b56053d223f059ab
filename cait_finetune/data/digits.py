"""scikit-learn's handwritten digits as a TFDS data set: real images without a download."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.1
_SPLIT_SEED = 0


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 digits of 43 writers, 8x8 pixels; 1,257 train, 180 validation, 360 test, stratified."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Handwritten digits (E. Alpaydin, C. Kaynak), as shipped by scikit-learn.",
            homepage="https://archive.ics.uci.edu/dataset/80",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        images, labels, splits = divided_digits()
        return {
            name: self._generate_examples(images, labels, rows) for name, rows in splits.items()
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[int, dict]]:
        for row in rows:
            yield int(row), {"image": images[row], "label": int(labels[row])}


def divided_digits() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the images ``(1797, 8, 8, 1)`` uint8, the labels ``(1797,)`` and the rows of each split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)  # (1797, 64) in 0..16
    images = np.round(images * (255 / 16)).astype("uint8").reshape(-1, 8, 8, 1)
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=_TEST_SHARE, stratify=labels, random_state=_SPLIT_SEED
    )
    train, validation = train_test_split(
        rest,
        test_size=round(_VALIDATION_SHARE * len(labels)),
        stratify=labels[rest],
        random_state=_SPLIT_SEED,
    )
    return images, labels, {"train": train, "validation": validation, "test": test}
