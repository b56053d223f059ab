"""conf/dataset/: each data set against its TFDS builder, without a download."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from unittest import mock

import pytest
import tensorflow_datasets as tfds
import tree
from etils import epath

from cait_finetune.config import DatasetConfig
from cait_finetune.data import (  # noqa: F401  register in TFDS
    aircraft,
    digit_pairs,
    leaning_digits,
    tfds_features,
    turned_digits,
)
from cait_finetune.data.procedural.builder import Procedural  # noqa: F401  registers in TFDS
from cait_finetune.tasks import task_of
from tests.cait_finetune.stand_ins import CONF, checked

pytestmark = pytest.mark.slow

NAMES = sorted(path.stem for path in (CONF / "dataset").glob("*.yaml"))
SETS = [
    name for name in NAMES if name not in ("tfds", "digits", "imagenet_folder", "folder", "csv")
]
#: The features that hold the labels, if they are not one class named "label".
FEATURES = {
    "turned_digits": "angle",
    "leaning_digits": ("digit", "direction"),
    "digit_pairs": "labels",
}
SPLITS = ("train", "validation", "test")
# These builders name their splits only if their files exist.
SPLITS_WITH_FILES = {
    "aircraft": {"train", "validation", "test"},
    "cifar10": {"train", "test"},
    "cifar100": {"train", "test"},
    "imagenet": {"train", "validation", "test"},
    "resisc45": {"train"},
    "stanford_dogs": {"train", "test"},
    "birds": {"train", "test"},
}


class NoDownloads:
    """A download manager that returns an empty folder for every file."""

    def __init__(self, folder: Path) -> None:
        self.manual_dir = epath.Path(folder)

    def download(self, urls):
        return tree.map_structure(lambda _: self.manual_dir, urls)

    extract = download_and_extract = download

    def iter_archive(self, _):
        return iter(())

    def __getattr__(self, _):
        return mock.MagicMock()


@functools.cache
def options(name: str) -> DatasetConfig:
    return checked(f"dataset={name}").dataset


@functools.cache
def builder(name: str, folder: Path) -> tfds.core.DatasetBuilder:
    return tfds.builder(options(name).name, data_dir=folder, try_gcs=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An empty folder, shared so that each builder is made once."""
    return tmp_path_factory.mktemp("tfds")


def test_the_catalogue_has_the_common_transfer_sets():
    assert set(SETS) >= {
        "aircraft", "flowers", "flowers102", "cifar10", "cifar100", "pets", "cars", "food101", "dtd",
        "caltech101", "sun397", "inat2017", "inat2018", "imagenette", "imagenet", "imagenet_v2",
        "eurosat", "resisc45", "beans", "cats_vs_dogs", "stanford_dogs", "birds", "plant_village", "procedural",
    }  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_it_is_a_set_of_one_image_and_the_labels_of_its_task(name, folder):
    target = task_of(checked(f"dataset={name}").task).target
    image, label = tfds_features.find_keys(builder(name, folder), options(name), target)
    assert (image, label) == ("image", FEATURES.get(name, "label"))


@pytest.mark.parametrize("name", [name for name in SETS if name not in FEATURES])
def test_num_classes_equals_that_of_the_builder(name, folder):
    assert builder(name, folder).info.features["label"].num_classes == options(name).num_classes


def split_names(name: str, folder: Path) -> set[str]:
    own = builder(name, folder)
    code = own._split_generators.__code__
    pipeline = [None] * ("pipeline" in code.co_varnames[: code.co_argcount])
    splits = own._split_generators(NoDownloads(folder), *pipeline)
    return {str(one if isinstance(splits, dict) else one.name) for one in splits}


@pytest.mark.parametrize("name", [name for name in SETS if name not in SPLITS_WITH_FILES])
def test_its_splits_are_the_builders(name, folder):
    used = {getattr(options(name).splits, split).partition("[")[0] for split in SPLITS}
    assert used <= split_names(name, folder)


@pytest.mark.parametrize("name", sorted(SPLITS_WITH_FILES))
def test_those_that_want_their_files_first_are_known_by_name(name, folder):
    used = {getattr(options(name).splits, split).partition("[")[0] for split in SPLITS}
    assert used <= SPLITS_WITH_FILES[name]
    with pytest.raises(Exception):  # noqa: B017  else the test above could check it
        split_names(name, folder)


def interval(split: str) -> tuple[str, float, float]:
    """Split ``train[80%:90%]`` into train, 80 and 90."""
    name, low, high = re.fullmatch(r"(\w+)(?:\[(\d*)%?:(\d*)%?\])?", split).groups()
    return name, float(low or 0), float(high or 100)


@pytest.mark.parametrize("name", SETS)
def test_no_image_is_in_two_splits(name):
    splits = options(name).splits
    if options(name).evaluation_only:
        assert splits.train == splits.validation == splits.test
        return
    parts = [interval(getattr(splits, split)) for split in SPLITS]
    for index, (one, low, high) in enumerate(parts):
        assert low < high
        for other, other_low, other_high in parts[:index]:
            assert one != other or low >= other_high or high <= other_low


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name in [*SETS, "digits", "imagenet_folder"]]
)
def test_every_set_states_its_homepage_and_licence(name):
    assert options(name).homepage.startswith("https://")
    assert options(name).license
    assert options(name).num_classes or name in FEATURES


def test_the_sets_that_are_judged_by_the_mean_per_class():
    judged = {name for name in NAMES if name in SETS and options(name).metric}
    assert judged == {"pets", "caltech101", "aircraft"}
    assert {name for name in SETS if options(name).evaluation_only} == {"imagenet_v2"}
