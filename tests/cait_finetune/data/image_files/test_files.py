"""Image files as a data source."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest

from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.pipeline import evaluation_stream
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.targets import ANY_CLASSES
from tests.cait_finetune.data.made_images import image


@pytest.fixture
def source(tmp_path):
    files = {}
    for split, count in (("train", 4), ("validation", 2), ("test", 1)):
        paths = [str(image(tmp_path / split / f"{number}.png")) for number in range(count)]
        names = np.array([f"{split}/{number}" for number in range(count)], object)
        labels = np.arange(count, dtype=np.int32) % 2
        files[split] = Files(
            np.array(paths, object), names, labels, np.arange(count, dtype=np.float32)
        )
    return FileSource(
        class_names=("cat", "dog"),
        sizes={split: len(one) for split, one in files.items()},
        weighted=True,
        name="mine",
        files=files,
    )


def test_other_weights_are_other_examples(source):
    files = source.files["train"]
    heavier = dataclasses.replace(files, weights=files.weights + 1)
    other = dataclasses.replace(source, files={**source.files, "train": heavier})
    assert source.stamp("train") != other.stamp("train")


def test_weights_of_one_and_no_weights_have_different_stamps(source):
    """A cache of decoded images holds weights only if the data set has weights."""
    files = dataclasses.replace(source.files["train"], weights=None)
    other = dataclasses.replace(source, files={**source.files, "train": files})
    ones = dataclasses.replace(files, weights=np.ones(len(files), "float32"))
    weighted = dataclasses.replace(source, files={**source.files, "train": ones})
    assert weighted.stamp("train") != other.stamp("train")


def test_other_class_names_are_other_examples(source):
    other = dataclasses.replace(source, class_names=source.class_names[::-1])
    assert source.stamp("train") != other.stamp("train")


@pytest.mark.slow
def test_a_file_that_is_gone_is_named_and_left_out(source):
    """A user deletes a file while a run trains."""
    files = source.files["train"]
    os.remove(files.paths[1])
    corrupt = CorruptImages("skip")
    preprocessing = Preprocessing(8, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
    batches = list(evaluation_stream(source, "train", preprocessing, 2, corrupt))
    assert sum(int(real.numpy().sum()) for *_, real in batches) == len(files) - 1
    assert corrupt.ids == [files.ids[1]]


def test_examples_are_the_files_in_order(source):
    found = list(source.examples("train").as_numpy_iterator())
    assert [one["id"] for one in found] == [b"train/0", b"train/1", b"train/2", b"train/3"]
    assert [one["label"] for one in found] == source.labels("train").tolist() == [0, 1, 0, 1]
    assert [one["weight"] for one in found] == [0, 1, 2, 3]
    for one, path in zip(found, source.files["train"].paths, strict=True):
        with open(path, "rb") as file:
            assert one["image"] == file.read()
    assert set(found[0]) == {"id", "image", "label", "weight"}
    assert source.class_counts("train").tolist() == [2, 2]


def test_selected_rows_keep_file_order_labels_and_weights(source):
    chosen = source.select(
        {
            "train": [("train", np.array([3, 0])), ("validation", np.array([1]))],
            "validation": [("train", np.array([1]))],
            "test": [("test", np.array([0]))],
        }
    )
    assert chosen.sizes == {"train": 3, "validation": 1, "test": 1}
    assert list(chosen.files["train"].ids) == ["train/0", "train/3", "validation/1"]
    assert chosen.labels("train").tolist() == [0, 1, 1]
    assert chosen.files["train"].weights.tolist() == [0, 3, 1]
    again = chosen.select({split: [(split, np.array([0]))] for split in chosen.sizes})
    assert list(again.files["validation"].ids) == ["train/1"]


def test_classes_in_another_order_keep_their_images(source):
    other = source.in_order(["dog", "cat"])
    assert other.class_names == ("dog", "cat")
    assert other.labels("train").tolist() == [1, 0, 1, 0]
    assert other.labels("train").dtype == np.int32
    assert [one["label"] for one in other.examples("train").as_numpy_iterator()] == [1, 0, 1, 0]
    assert list(other.files["train"].ids) == list(source.files["train"].ids)
    assert other.files["train"].weights.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="in another order"):
        source.in_order(["cat", "owl"])


def test_several_labels_in_another_order(source):
    labels = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
    files = dataclasses.replace(source.files["train"].rows(np.arange(2)), labels=labels)
    several = dataclasses.replace(
        source,
        class_names=("cat", "dog", "owl"),
        sizes=dict.fromkeys(source.sizes, 2),
        target=ANY_CLASSES,
        files=dict.fromkeys(source.sizes, files),
    )
    other = several.in_order(["owl", "cat", "dog"])
    assert other.labels("test").tolist() == [[0, 1, 0], [1, 0, 1]]


def test_the_stamp_changes_with_the_files(source):
    before = source.stamp("train")
    assert json.loads(json.dumps(before)) == before == source.stamp("train")
    assert before != source.stamp("validation")
    path = source.files["train"].paths[0]
    os.utime(path, (1, 1))
    later = source.stamp("train")
    assert later != before
    with open(path, "ab") as file:
        file.write(b"more")
    os.utime(path, (1, 1))
    assert source.stamp("train") != later


def test_the_stamp_distinguishes_files_of_equal_size_and_second(source):
    one, other = source.files["train"].paths[:2]
    for path in (one, other):
        with open(path, "wb") as file:
            file.write(b"four")
        os.utime(path, (1, 1))
    before = source.stamp("train")
    os.utime(one, ns=(10**9, 10**9 + 1))  # another time in the same second
    assert source.stamp("train") != before
    os.utime(one, (1, 1))
    before = source.stamp("train")
    os.rename(one, f"{one}.away")  # files of one archive can have equal times
    os.rename(other, one)
    os.rename(f"{one}.away", other)
    assert source.stamp("train") != before
