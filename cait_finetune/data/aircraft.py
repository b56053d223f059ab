"""FGVC-Aircraft as a TFDS data set. TFDS itself does not include FGVC-Aircraft."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow_datasets as tfds
from etils import epath

_URL = "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"


class FgvcAircraft(tfds.core.GeneratorBasedBuilder):
    """10,000 photographs of 100 variants of aircraft; 3,334 train, 3,333 validation, 3,333 test.

    Maji et al. 2013, https://arxiv.org/abs/1306.5151.
    """

    VERSION = tfds.core.Version("1.0.0")
    URLS = (_URL,)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Fine-grained visual classification of aircraft (S. Maji et al. 2013).",
            homepage="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(num_classes=100),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        data = epath.Path(dl_manager.download_and_extract(_URL)) / "fgvc-aircraft-2013b" / "data"
        self.info.features["label"].names = (
            (data / "variants.txt").read_text(encoding="utf-8").splitlines()
        )
        names = {"train": "train", "validation": "val", "test": "test"}
        return {split: self._generate_examples(data, name) for split, name in names.items()}

    def _generate_examples(self, data: epath.Path, name: str) -> Iterator[tuple[str, dict]]:
        for line in (data / f"images_variant_{name}.txt").read_text(encoding="utf-8").splitlines():
            number, label = line.split(" ", 1)
            yield number, {"image": data / "images" / f"{number}.jpg", "label": label}
