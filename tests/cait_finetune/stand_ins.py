"""Small TFDS data sets of real image files, some of them broken, and configurations of runs."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from cait_finetune import config as configuration
from cait_finetune import tasks
from cait_finetune.data.tfds_source import TfdsSource

CONF = Path(__file__).resolve().parents[2] / "conf"

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def image_file(colour, size=(40, 32), kind="JPEG", seed=0) -> bytes:
    """Return an encoded image of one colour with noise."""
    noise = np.random.default_rng(seed).integers(0, 40, (size[1], size[0], 3))
    buffer = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).astype("uint8")).save(buffer, kind)
    return buffer.getvalue()


class Patches(tfds.core.GeneratorBasedBuilder):
    """Red, green and blue images. `BROKEN` examples of the first split hold 60 bytes of a file."""

    VERSION = tfds.core.Version("1.0.0")
    SIZES = {"train": 30}
    BROKEN: tuple[int, ...] = ()
    LABEL: object = tfds.features.ClassLabel(names=list(COLOURS))

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(encoding_format="jpeg"), "label": self.LABEL}
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name, size) for name, size in self.SIZES.items()}

    def _generate_examples(self, split, size):
        first = split == next(iter(self.SIZES))
        for number in range(size):
            label = number % len(COLOURS)
            data = image_file(list(COLOURS.values())[label], seed=number)
            if first and number in self.BROKEN:
                data = data[:60]
            yield number, {"image": io.BytesIO(data), "label": label}


def prepare(directory, name="colour_patches", **attributes) -> str:
    """Write a variant of `Patches` under `directory` and return its TFDS name."""
    with tfds.core.registered.skip_registration():  # other tests use the same names
        kind = type("Variation", (Patches,), {**attributes, "name": name, "__module__": __name__})
    kind(data_dir=directory).download_and_prepare()
    return name


def composed(*overrides: str) -> DictConfig:
    """Return the configuration that Hydra composes from `overrides`."""
    configuration.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(config_name="config", overrides=list(overrides))


def checked(*overrides: str) -> configuration.Config:
    """Return the validated configuration of a run with `overrides`."""
    return tasks.checked(composed(*overrides))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return random colour blocks on a gradient, ``(h, w, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    blocks = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    slope = np.linspace(0, 255, height * width).reshape(height, width, 1)
    return ((2 * blocks + slope) / 3).astype("uint8")


def encode(image: np.ndarray, file_format: str = "PNG", **options: object) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, **options)
    return buffer.getvalue()


def examples(count: int) -> list[tuple[bytes, int]]:
    """Return `count` different 16x16 PNG files, with labels 0 and 1 in turn."""
    return [(encode(picture(16, 16, seed)), seed % 2) for seed in range(count)]


def write_set(
    directory: Path,
    splits: dict[str, Sequence[tuple[bytes, object]]],
    name: str = "some_files",
    label: object = None,
    shards: int | None = None,
) -> tfds.core.DatasetBuilder:
    """Write a data set of the given files in the given order, even if a file is broken.

    Args:
        label: TFDS feature of the labels. `None`: classes cat and dog.
        shards: number of shard files per split. `None`: chosen by TFDS.
    """
    label = label or tfds.features.ClassLabel(names=["cat", "dog"])

    def info(self: tfds.core.DatasetBuilder) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": label}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def split_generators(self: tfds.core.DatasetBuilder, dl_manager: object) -> dict:
        return {split: self._generate_examples(files) for split, files in splits.items()}

    def generate(self: tfds.core.DatasetBuilder, files: Sequence) -> object:
        for index, (data, label) in enumerate(files):
            yield index, {"image": io.BytesIO(data), "label": label}

    body = {
        "__module__": __name__,
        "VERSION": tfds.core.Version("1.0.0"),
        "name": name,
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": generate,
    }
    with tfds.core.registered.skip_registration():
        builder = type("Files", (tfds.core.GeneratorBasedBuilder,), body)(data_dir=directory)
    tfds.disable_progress_bar()
    options = {"num_shards": shards} if shards else {}
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**options))
    return builder


def source_of(builder: tfds.core.DatasetBuilder) -> TfdsSource:
    """Return a `Source` that uses the train split of a `write_set` data set for every split."""
    splits = ("train", "validation", "test")
    return TfdsSource(
        builder=builder,
        image_key="image",
        label_key="label",
        class_names=("cat", "dog"),
        splits=dict.fromkeys(splits, "train"),
        sizes=dict.fromkeys(splits, builder.info.splits["train"].num_examples),
    )
