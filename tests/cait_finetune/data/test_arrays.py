"""Images of a program become files with the same pixels, labels and splits."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune import finetune
from cait_finetune.data.arrays import write_splits
from cait_finetune.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), "uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2])
NAMES = ["ant", "bee", "cow"]


def rows(table):
    return list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))


def test_arrays_are_written_bit_for_bit(tmp_path):
    table = write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path)
    listed = rows(table)
    assert [row["label"] for row in listed] == [NAMES[label] for label in LABELS]
    assert "split" not in listed[0]
    for row, image in zip(listed, IMAGES, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(table.parent / row["path"])), image)


class Hugging(list):
    """The part of Hugging Face's data sets that is used."""

    features = {"label": SimpleNamespace(names=NAMES)}


def as_dataset(**batch):
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    return data.batch(4) if batch else data


def as_hugging_face():
    return Hugging({"image": Image.fromarray(image), "label": int(label)}
                   for image, label in zip(IMAGES, LABELS, strict=True))  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [(list(IMAGES), list(LABELS)), as_dataset(), as_dataset(batch=4), as_hugging_face(),
     [{"img": image, "labels": NAMES[label]} for image, label in zip(IMAGES, LABELS, strict=True)]],
    ids=["lists", "tf.data", "batches", "Hugging Face", "dictionaries"],
)  # fmt: skip
def test_every_form_is_the_same_data_set(data, tmp_path):
    wanted = write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path)
    names = None if isinstance(data, Hugging) else NAMES
    assert write_splits({"train": data}, names, tmp_path) == wanted
    assert len(list(tmp_path.iterdir())) == 1


def test_splits_and_grey_images(tmp_path):
    grey = (IMAGES[..., :1], LABELS)
    table = write_splits(
        {"train": grey, "validation": grey, "test": (IMAGES[..., 0], LABELS)}, None, tmp_path
    )
    assert [row["split"] for row in rows(table)] == ["train"] * 6 + ["validation"] * 6 + [
        "test"
    ] * 6
    assert {row["label"] for row in rows(table)} == {"0", "1", "2"}
    assert write_splits({"train": grey}, None, tmp_path) != table


@pytest.mark.parametrize(
    ("splits", "names", "message"),
    [
        (
            {"train": (IMAGES / 255, LABELS)},
            None,
            "train: got images of float64 and shape .*\n  Multiply",
        ),
        ({"train": (IMAGES, LABELS[:5])}, None, "train: got 6 images and 5 labels"),
        ({"train": (IMAGES, np.eye(3)[LABELS])}, None, "train: got a label .*\n.*argmax"),
        (
            {"train": (IMAGES, LABELS)},
            NAMES[:2],
            "train: got label 2, expected a label from 0 to 1",
        ),
        ({"train": (IMAGES, LABELS)}, [*NAMES, "dog"], "class_names: got dog, without an image"),
        ({"train": (IMAGES, LABELS)}, ["ant", "bee", "ant"], "class_names: got .*different texts"),
        ({"train": (IMAGES, LABELS)}, "abc", "class_names: got 'abc', expected a list"),
        ({"train": (IMAGES, np.array(["x", "y", "z"])[LABELS])}, NAMES, "train: got the label 'x'"),
        ({"train": (IMAGES, LABELS - 1)}, None, "train: got label -1, expected labels from 0"),
        (
            {"train": [{"image": Image.fromarray(IMAGES[0, ..., 0].astype("uint16")), "label": 0}]},
            None,
            "train: got images of uint16",
        ),
        ({"train": {"image": IMAGES, "label": LABELS}}, None, "train: got dict, expected"),
        ({"train": [IMAGES, LABELS]}, None, "train: got an example of type ndarray"),
        ({"train": []}, None, "train: got no images"),
        ({"train": 3}, None, "train: got int, expected"),
        ({"train": [{"x": 1}]}, None, "train: got examples with x, expected image and label"),
        (
            {"train": (IMAGES, LABELS), "validation": (IMAGES, LABELS)},
            None,
            "test: got nothing beside",
        ),
    ],
)
def test_a_mistake_leaves_no_files(splits, names, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write_splits(splits, names, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_that_was_edited_is_written_again(tmp_path):
    table = write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path)
    Image.fromarray(IMAGES[1]).save(table.parent / "train/0000000.png")
    assert write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path) == table
    written = np.asarray(Image.open(table.parent / "train/0000000.png"))
    np.testing.assert_array_equal(written, IMAGES[0])


def test_two_data_sets_at_once_are_refused():
    with pytest.raises(UserError, match=r"^dataset: got dataset=folder beside train="):
        finetune("dataset=folder", train=(IMAGES, LABELS))


@pytest.mark.slow
def test_a_run_on_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], "uint8")
    labels = np.arange(30) % 3
    images = np.broadcast_to(colours[labels][:, None, None], (30, 16, 16, 3)).copy()
    images[:, 0, 0, 0] = np.arange(30)  # no two images are equal
    words = ["model.image_size=16", "train.epochs=3", "train.batch_size=8", "export=none"]
    run = finetune(*words, train=(images, labels), class_names=NAMES)
    assert run.class_names == NAMES
    assert run.result["test_examples"] == 3
    with pytest.raises(UserError, match="train: got nothing beside"):
        finetune(*words, class_names=NAMES)
