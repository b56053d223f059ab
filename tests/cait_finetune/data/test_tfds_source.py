"""Finding a data set, its classes and its splits."""

import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig, SplitsConfig
from cait_finetune.data.opening import open_source
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import prepare


def test_digits_are_three_disjoint_stratified_splits(tmp_path):
    source = open_source(DatasetConfig(source="digits", name="digits", data_dir=str(tmp_path)))
    assert source.sizes == {"train": 1257, "validation": 180, "test": 360}
    assert source.class_names == tuple("0123456789")
    seen = [[e["image"] for e in source.examples(r).as_numpy_iterator()] for r in source.sizes]
    assert len(set().union(*seen)) <= sum(len(images) for images in seen) == 1797
    counts = [0] * 10
    for example in source.examples("test"):
        counts[int(example["label"])] += 1
    assert min(counts) >= 34
    assert max(counts) <= 38


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"train": 20}, ("train[:80%]", "train[80%:90%]", "train[90%:]")),
        ({"train": 20, "test": 5}, ("train[:90%]", "train[90%:]", "test")),
        ({"train": 20, "validation": 5}, ("train[:90%]", "train[90%:]", "validation")),
        ({"train": 20, "val": 5, "test": 6}, ("train", "val", "test")),
    ],
)
def test_splits_follow_what_the_set_has(has, expected, tmp_path):
    name = prepare(tmp_path, "patches_" + "_".join(has), SIZES=has)
    source = open_source(DatasetConfig(name=name, data_dir=str(tmp_path)))
    assert tuple(source.splits.values()) == expected
    assert sum(source.sizes.values()) == sum(has.values())


def test_unknown_name_suggests_a_near_one():
    with pytest.raises(
        UserError, match=r"dataset.name: got 'tf_flower'(.|\n)*did you mean tf_flowers"
    ):
        open_source(DatasetConfig(name="tf_flower"))


@pytest.mark.parametrize("splits", [{"train": "training"}, {"test": "train[:0]"}, {"test": "tr[["}])
def test_splits_that_are_not_there_or_empty(splits, tmp_path):
    name = prepare(tmp_path)
    config = DatasetConfig(name=name, data_dir=str(tmp_path), splits=SplitsConfig(**splits))
    with pytest.raises(UserError, match=f"dataset.splits.{next(iter(splits))}: got"):
        open_source(config)


def test_fewer_classes_than_labels(tmp_path):
    config = DatasetConfig(name=prepare(tmp_path), data_dir=str(tmp_path), num_classes=2)
    with pytest.raises(UserError, match=r"dataset.num_classes: got 2, expected at least 3"):
        open_source(config)


def test_plain_integer_labels_are_counted(tmp_path):
    name = prepare(tmp_path, "plain_patches", LABEL=tfds.features.Scalar(np.int64))
    config = DatasetConfig(name=name, data_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"dataset.num_classes: got nothing"):
        open_source(config)
    config.num_classes = 2
    with pytest.raises(UserError, match="split train has labels 0 to 2"):
        open_source(config)
    config.num_classes = 3
    assert open_source(config).class_names == ("class_0", "class_1", "class_2")


def test_without_a_network_the_way_out_is_said_at_once(tmp_path, monkeypatch):
    def fail(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(UserError) as error:
        open_source(DatasetConfig(name="tf_flowers", data_dir=str(tmp_path)))
    for part in ("tf_flowers", str(tmp_path), "download_and_prepare", "dataset.data_dir=DIR"):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["valid", "dev"])
def test_other_words_for_validation(name, tmp_path):
    prepare(tmp_path, SIZES={"train": 9, name: 3, "test": 3})
    source = open_source(DatasetConfig(name="colour_patches", data_dir=str(tmp_path)))
    assert source.splits == {"train": "train", "validation": name, "test": "test"}


def test_a_chosen_split_goes_before_the_usual_one(tmp_path):
    prepare(tmp_path, SIZES={"train": 20, "test": 6})
    splits = SplitsConfig(test="test[:50%]")
    source = open_source(
        DatasetConfig(name="colour_patches", data_dir=str(tmp_path), splits=splits)
    )
    assert source.splits["test"] == "test[:50%]"
    assert source.splits["validation"] == "train[90%:]"
    assert source.sizes == {"train": 18, "validation": 2, "test": 3}


def test_the_usual_splits_have_no_example_in_common(tmp_path):
    prepare(tmp_path, SIZES={"train": 20})
    source = open_source(DatasetConfig(name="colour_patches", data_dir=str(tmp_path)))
    ids = [e["id"] for role in source.sizes for e in source.examples(role).as_numpy_iterator()]
    assert len(ids) == len(set(ids)) == 20


def test_without_train_all_three_have_to_be_named(tmp_path):
    prepare(tmp_path, SIZES={"complete": 20})
    config = DatasetConfig(name="colour_patches", data_dir=str(tmp_path))
    with pytest.raises(
        UserError, match=r"^dataset\.splits: .*colour_patches has complete and no train"
    ):
        open_source(config)
    config.splits = SplitsConfig(
        train="complete[:50%]", validation="complete[50%:75%]", test="complete[75%:]"
    )
    assert open_source(config).sizes == {"train": 10, "validation": 5, "test": 5}


def test_more_classes_than_labels(tmp_path):
    config = DatasetConfig(name=prepare(tmp_path), data_dir=str(tmp_path), num_classes=5)
    assert open_source(config).class_names == ("red", "green", "blue", "class_3", "class_4")


@pytest.mark.parametrize(
    "label", [tfds.features.Text(), tfds.features.Scalar(np.float32), tfds.features.BBoxFeature()]
)
def test_a_set_without_class_labels(label, tmp_path, monkeypatch):
    """Only its description is looked at, before anything is downloaded."""

    def describe(self):
        features = {"image": tfds.features.Image(), "label": label}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    attributes = {
        "__module__": __name__,
        "VERSION": tfds.core.Version("1.0.0"),
        "name": "unlabelled",
        "_info": describe,
        "_split_generators": lambda self, dl_manager: {},
        "_generate_examples": lambda self: iter(()),
    }
    with tfds.core.registered.skip_registration():
        kind = type("Unlabelled", (tfds.core.GeneratorBasedBuilder,), attributes)
    monkeypatch.setattr(tfds, "builder", lambda name, **options: kind(data_dir=tmp_path))
    with pytest.raises(UserError) as error:
        open_source(DatasetConfig(name="unlabelled"))
    message = str(error.value)
    assert message.startswith("dataset.name: got unlabelled, expected a set with one image and")
    assert "it has image, label\n  name them with dataset.columns.image=" in message


def test_a_builder_that_fails_to_open(monkeypatch):
    def fail(name, **options):
        raise ImportError("no module named pycocotools")

    monkeypatch.setattr(tfds, "builder", fail)
    with pytest.raises(UserError, match=r"dataset\.name: got 'coco'.*no module named pycocotools"):
        open_source(DatasetConfig(name="coco"))
