"""Images of a program become files with the same pixels, labels and splits."""

from __future__ import annotations

import csv
import io
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune import finetune
from cait_finetune.data.arrays import write_splits
from cait_finetune.data.bands import decode_bands
from cait_finetune.data.image_files.files import FileSource
from cait_finetune.data.load import load_source
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import from_table

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), "uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2])
NAMES = ["ant", "bee", "cow"]


def rows(table):
    return list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))


def test_arrays_are_written_bit_for_bit(tmp_path):
    table, _ = write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path)
    listed = rows(table)
    assert [row["label"] for row in listed] == [NAMES[label] for label in LABELS]
    assert "split" not in listed[0]
    for row, image in zip(listed, IMAGES, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(table.parent / row["path"])), image)


class Hugging(list):
    """The part of Hugging Face's data sets that is used."""

    features = {"label": SimpleNamespace(names=NAMES)}


def as_dataset(labels, images=IMAGES):
    return tf.data.Dataset.from_tensor_slices((images, labels))


def as_hugging_face():
    return Hugging({"image": Image.fromarray(image), "label": int(label)}
                   for image, label in zip(IMAGES, LABELS, strict=True))  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [(list(IMAGES), list(LABELS)), as_dataset(LABELS), as_dataset(LABELS).batch(4), as_hugging_face(),
     [{"img": image, "labels": NAMES[label]} for image, label in zip(IMAGES, LABELS, strict=True)],
     [{"image": list(map(Image.fromarray, IMAGES)), "label": list(LABELS)}]],
    ids=["lists", "tf.data", "batches", "Hugging Face", "dictionaries", "lists of PIL images"],
)  # fmt: skip
def test_every_form_is_the_same_data_set(data, tmp_path):
    wanted = write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path)
    names = None if isinstance(data, Hugging) else NAMES
    assert write_splits({"train": data}, names, tmp_path) == wanted
    assert len(list(tmp_path.iterdir())) == 1


def test_splits_and_grey_images(tmp_path):
    grey = (IMAGES[..., :1], LABELS)
    table, names = write_splits(
        {"train": grey, "validation": grey, "test": (IMAGES[..., 0], LABELS)}, None, tmp_path
    )
    assert [row["split"] for row in rows(table)] == ["train"] * 6 + ["validation"] * 6 + [
        "test"
    ] * 6
    assert {row["label"] for row in rows(table)} == {"0", "1", "2"}
    assert names is None
    assert write_splits({"train": grey}, None, tmp_path).table != table


@pytest.mark.parametrize(
    ("splits", "names", "message"),
    [
        (
            {"train": (IMAGES / 255, LABELS)},
            None,
            "train: got images of float64 and shape .*\n  Multiply",
        ),
        ({"train": (IMAGES, LABELS[:5])}, None, "train: got 6 images and 5 labels"),
        ({"train": (IMAGES, np.eye(3)[LABELS])}, None,
         r"train: got a label .*\n  train= takes one label for each image\. Give labels\.argmax"),
        (
            {"train": (IMAGES, LABELS)},
            NAMES[:2],
            "train: got label 2, expected a label from 0 to 1",
        ),
        ({"train": (IMAGES, LABELS)}, [*NAMES, "dog"], "class_names: got dog, without an image"),
        ({"train": (IMAGES, LABELS)}, ["ant", "bee", "ant"], "class_names: got .*different texts"),
        ({"train": (IMAGES, LABELS)}, ["ant", "bee", 3], "class_names: got .*different texts"),
        ({"train": (IMAGES, LABELS)}, "abc", "class_names: got 'abc', expected a list"),
        ({"train": (IMAGES, LABELS)}, set(NAMES), "class_names: got {.*, expected a list"),
        ({"train": (IMAGES, LABELS)}, frozenset(NAMES), "class_names: got frozenset"),
        ({"train": (IMAGES, LABELS)}, dict.fromkeys(NAMES), "class_names: got {'ant'"),
        ({"train": (IMAGES, LABELS)}, dict.fromkeys(NAMES).keys(), "class_names: got dict_keys"),
        ({"train": (IMAGES, LABELS)}, iter(NAMES), "class_names: got <list_iterator"),
        ({"train": (IMAGES, LABELS)}, ["ant", "ant ", "bee"],
         "class_names: got the class name 'ant ', expected text without spaces around it.*\n  Write 'ant'"),
        ({"train": (IMAGES, LABELS)}, ["ant", "be\ne", "cow"], "class_names: .*without line breaks"),
        ({"train": (IMAGES, LABELS)}, ["ant", "${seed}", "cow"],
         r"class_names: got the class name '\$\{seed\}', expected text without \$\{"),
        ({"train": (IMAGES, LABELS)}, ["ant", "", "cow"], "class_names: .*\n  Name the class"),
        ({"train": (IMAGES, ["ant", "ant ", "bee"] * 2)}, None,
         "train: got the label 'ant ', expected text without spaces around it"),
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
            "validation, test: got only one of them",
        ),
        ({"train": (IMAGES[0], LABELS[0])}, None, r"train: got a pair .*\n  .*\[\(image, label\)\]"),
        ({"train": (IMAGES[0], "ant")}, None, r"train: got a pair .*\n  .*\[\(image, label\)\]"),
        ({"train": (IMAGES, set(range(6)))}, None, "train: got a pair without several images"),
        ({"train": (IMAGES, dict.fromkeys("abcdef"))}, None, "train: got a pair without"),
        ({"train": [(IMAGES, LABELS[:5])]}, None, "train: got 6 images and 5 labels"),
        ({"train": [(IMAGES, 1)]}, None, "train: got a pair without several images and labels"),
        ({"train": as_dataset(LABELS).repeat()}, None, "train: got an endless .*\n  .*repeat"),
        ({"train": (IMAGES[:, :0], LABELS)}, None, r"train: got .* shape \(0, 9, 3\).*\n.*empty"),
    ],
)  # fmt: skip
def test_a_mistake_leaves_no_files(splits, names, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write_splits(splits, names, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("label", "advice"),
    [(LABELS[:, None], r"labels\.ravel\(\)"), (LABELS > 0, r"labels\.astype\(int\)"),
     (LABELS.astype(float), r"labels\.astype\(int\)"), ([None] * 6, "Leave unlabelled"),
     ([np.nan] * 6, "Leave unlabelled"), (LABELS + 0.5, "class numbers or names"),
     ([["a", "b"], ["c"]] * 3, r"train= takes one label for each image\.$"),
     (np.array([[1, 1, 0]] * 6), r"train= takes one label for each image\..*labels\.argmax\(-1\)")],
    ids=["column", "bools", "floats", "None", "NaN", "measurements", "lists", "several"],
)  # fmt: skip
def test_advice_for_other_labels(label, advice, tmp_path):
    with pytest.raises(UserError, match=rf"train: got a label .*\n  .*{advice}") as error:
        write_splits({"train": (IMAGES, label)}, None, tmp_path)
    assert ("argmax" in str(error.value)) == ("argmax" in advice)


def png(kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("images", "advice"),
    [(IMAGES / 255, "Multiply"), (IMAGES.astype("float32"), r"images\.round\(\)\.astype"),
     (IMAGES / 127.5 - 1, "before normalisation"), (IMAGES.astype(int), r"images\.astype\('uint8'\)"),
     (IMAGES.astype("uint16") * 257, "257"), (IMAGES > 9, r"\* 255"),
     (np.repeat(IMAGES[..., :1], 4, -1), r"images\[\.\.\., :3\]"), (IMAGES.transpose(0, 3, 1, 2), "moveaxis"),
     (["a.jpg"] * 6, r"PIL\.Image\.open"), ([b"a.jpg"] * 6, r"PIL\.Image\.open"),
     ([png()] * 6, r"tf\.io\.decode_image"), ([png("JPEG")] * 6, r"tf\.io\.decode_image"),
     ([{"bytes": png(), "path": None}] * 6, r"tf\.io\.decode_image"), (IMAGES[..., :2], r"Set model\.in_channels=2\."),
     (IMAGES[..., :1] / 255, r"Multiply .*; or set model\.in_channels=1 to"),
     (IMAGES[..., 0] * 257.0, r"Set model\.in_channels=1 to"),
     (IMAGES[..., 0].astype("uint16") * 257, r"Divide .*; or set model\.in_channels=1 to"),
     (np.repeat(IMAGES[..., :1], 4, -1), r".*or set model\.in_channels=4 for four bands"),
     (np.repeat(IMAGES[..., :1] / 255, 4, -1), r"Set model\.in_channels=4\."),
     (np.repeat(IMAGES[..., :1], 13, -1), r"Set model\.in_channels=13\."),
     (np.repeat(IMAGES[..., 0][:, None], 4, 1), "moveaxis"),
     (IMAGES * 257.0, None)],
    ids=["0 to 1", "floats", "normalised", "integers", "16 bits", "bools", "RGBA", "NCHW", "paths", "paths in bytes",
         "PNG", "JPEG", "not decoded", "two channels",
         "grey 0 to 1", "grey floats", "grey of 16 bits", "four levels", "four floats", "thirteen", "four first",
         "floats of any size"],
)  # fmt: skip
def test_advice_for_other_images(images, advice, tmp_path):
    with pytest.raises(UserError, match=rf"^train: got .*(\n  .*{advice})") if advice else (
        pytest.raises(UserError, match=r"^train: got images of float64 and shape \(8, 9, 3\).*\)$")
    ):  # fmt: skip
        write_splits({"train": (images, LABELS)}, None, tmp_path)


BANDS = np.random.default_rng(1).normal(500, 300, (6, 8, 9, 4)).astype("float32")


def decoded(written, channels):
    data = [(written.table.parent / row["path"]).read_bytes() for row in rows(written.table)]
    return np.stack([decode_bands(one, channels) for one in data])


@pytest.mark.parametrize(
    ("images", "channels", "wanted"),
    [(BANDS, 4, BANDS), (BANDS.astype(">f8"), 4, BANDS), (np.asfortranarray(BANDS[..., :2]), 2, BANDS[..., :2]),
     (IMAGES[..., :2], 2, IMAGES[..., :2] / 255), (IMAGES[..., 0], 1, IMAGES[..., :1] / 255),
     (IMAGES[..., :1].astype("uint16") * 257, 1, IMAGES[..., :1] / 255),
     (tf.constant(BANDS), 4, BANDS),
     ([Image.fromarray(image[..., 0]) for image in IMAGES], 1, IMAGES[..., :1] / 255),
     ([Image.fromarray(image[..., :2], "LA") for image in IMAGES], 2, IMAGES[..., :2] / 255),
     ([Image.fromarray(image[..., 0] > 99) for image in IMAGES], 1, IMAGES[..., :1] > 99)],
    ids=["floats", "big endian", "Fortran", "two", "grey", "16 bits", "tensor", "PIL", "PIL and alpha", "PIL bits"],
)  # fmt: skip
def test_bands_keep_their_values(images, channels, wanted, tmp_path):
    written = write_splits({"train": (images, LABELS)}, NAMES, tmp_path, channels=channels)
    np.testing.assert_allclose(decoded(written, channels), wanted, rtol=1e-6)
    again = write_splits({"train": (images, LABELS)}, NAMES, tmp_path, channels=channels)
    assert again == written


@pytest.mark.parametrize(
    ("images", "channels", "advice"),
    [(BANDS, 13, r"Set model\.in_channels=4\."), (IMAGES, 4, r"Leave model\.in_channels out"),
     (BANDS.transpose(0, 3, 1, 2), 4, "moveaxis"), (BANDS[..., 0] > 9, 1, r"\* 255"),
     (IMAGES[..., 0].astype(int), 1, r"astype\('uint8'\)"),
     (IMAGES[..., 0].astype(int) * 200, 1, r"astype\('uint16'\)"),
     (BANDS.astype("int16"), 4, r"astype\('float32'\)"), (BANDS[:, :0], 4, "Leave empty images out"),
     (LABELS, 4, "look like labels"),
     ([Image.fromarray(IMAGES[0]).convert("P")] * 6, 1, r"Leave model\.in_channels out")],
    ids=["other", "RGB", "first", "bools", "8 bits", "16 bits", "signed", "empty", "labels", "palette"],
)  # fmt: skip
def test_advice_for_other_bands(images, channels, advice, tmp_path):
    with pytest.raises(
        UserError, match=rf"^train: got .*model\.in_channels is {channels}\n  .*{advice}"
    ):
        write_splits({"train": (images, LABELS)}, None, tmp_path, channels=channels)


def test_files_in_a_data_set_of_tensorflow_are_not_decoded(tmp_path):
    data = tf.data.Dataset.from_tensors(png("JPEG")).repeat(4)
    data = tf.data.Dataset.zip(data, tf.data.Dataset.range(4))
    for form in (data, data.batch(2)):
        with pytest.raises(
            UserError, match="train: got the content of an image file, expected dec"
        ):
            write_splits({"train": form}, None, tmp_path)


def test_bytes_as_labels_are_utf8(tmp_path):
    names = ["Ä", "Ö", "ß"]
    for coding in ("utf-8", "latin-1"):
        data = as_dataset([names[label].encode(coding) for label in LABELS])
        if coding == "utf-8":
            assert rows(write_splits({"train": data}, None, tmp_path).table)[0]["label"] == "Ä"
            continue
        with pytest.raises(UserError, match=r"train: got the label b'\\xc4', expected .*UTF-8"):
            write_splits({"train": data}, None, tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pil_images_are_turned_as_their_files_are(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    file = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(file, kind, exif=exif)
    raw = np.asarray(Image.open(file))
    turned = np.rot90(raw, -1)
    for upright, wanted in ((True, turned), (False, raw)):
        for images in ([Image.open(file)], [[Image.open(file)]]):
            data = list(zip(images, [["a"]] if isinstance(images[0], list) else ["a"], strict=True))
            table, _ = write_splits({"train": data}, None, tmp_path, upright)
            written = np.asarray(Image.open(table.parent / "train/0000000.png"))
            np.testing.assert_array_equal(written, wanted)


def test_labels_that_are_no_columns_are_named(tmp_path, caplog):
    write_splits({"train": (IMAGES[:4], [0, 1, 2, 0])}, None, tmp_path)
    write_splits({"train": (IMAGES[:4], ["b", "a", "2", "b"])}, None, tmp_path)
    assert not caplog.messages
    write_splits({"train": (IMAGES[:4], [1, 2, 3, 1])}, None, tmp_path)
    assert caplog.messages == ["the labels are 1, 2, 3: column 0 is label 1"]


def test_a_truncated_pil_image(tmp_path):
    image = Image.open(io.BytesIO(png("JPEG")[:-40]))
    with pytest.raises(
        UserError, match=r"^train: got <PIL.*, expected an image that PIL can decode"
    ):
        write_splits({"train": [(image, 0)]}, None, tmp_path)


@pytest.mark.parametrize("names", [NAMES, tuple(NAMES), np.array(NAMES), deque(NAMES),
                                   SimpleNamespace(tolist=lambda: NAMES)])  # fmt: skip
def test_class_names_have_an_order(names, tmp_path):
    assert write_splits({"train": (IMAGES, LABELS)}, names, tmp_path).class_names == NAMES


def stated(names, key="label", **others):
    """The images with the names that a data set states for the column `key`."""
    features = {key: SimpleNamespace(names=names), "image": SimpleNamespace()}
    data = [
        {"image": image, key: label} | others for image, label in zip(IMAGES, LABELS, strict=True)
    ]
    made = type(
        "Stated", (list,), {"features": {**dict.fromkeys(others, SimpleNamespace()), **features}}
    )
    return made(data)  # fmt: skip


def labels_of(splits, names, folder):
    table, order = write_splits(splits, names, folder)
    return [row["label"] for row in rows(table)], order


def test_the_order_of_the_labels(tmp_path):
    """Column i of the model is label i, whatever the names."""
    names = ["zebra", "ant", "moth"]
    wanted = [names[label] for label in LABELS]
    assert labels_of({"train": (IMAGES, LABELS)}, names, tmp_path) == (wanted, names)
    assert labels_of({"train": stated([*names, "unused"])}, None, tmp_path) == (wanted, names)
    assert labels_of({"train": (IMAGES, wanted)}, names, tmp_path) == (wanted, names)
    assert labels_of({"train": (IMAGES, wanted)}, None, tmp_path) == (wanted, None)
    both = {"train": stated(names), "validation": (IMAGES, LABELS), "test": stated(names)}
    assert labels_of(both, None, tmp_path) == (wanted * 3, names)


def test_integer_labels_are_in_numeric_order(tmp_path):
    images = np.zeros((33, 4, 4, 3), "uint8")
    table, _ = write_splits({"train": (images, np.arange(33) % 11)}, None, tmp_path)
    assert from_table(table).class_names == tuple(map(str, range(11)))


def test_names_and_numbers_are_of_one_column(tmp_path):
    """``label`` is read, so that the names of ``fine_label`` do not count."""
    data = stated(NAMES, "fine_label", label=7)
    assert labels_of({"train": data}, None, tmp_path) == (["7"] * 6, None)
    data[0].pop("label")
    with pytest.raises(UserError, match=r"train: got examples with .*, expected image and label"):
        write_splits({"train": data}, None, tmp_path)


@pytest.mark.parametrize(
    ("own", "names", "message"),
    [(NAMES, ["bee", "ant", "cow"], "class_names: got 'bee' for label 0, which is 'ant' in train, expected 'bee' "
      "for label 1"),
     (NAMES, ["x", "Ant", "y"], "class_names: got 'Ant' for label 1"),
     (["ant ", "bee", "cow"], ["bee", "x", "y"], "class_names: got 'bee' for label 0"),
     (["ant ", "bee", "cow"], None, "train: got the class name 'ant '.*\n  .*class_names="),
     (["ant", "ant", "cow"], None, "train: got the class name 'ant' twice, expected different"),
     (NAMES, ["x", "y"], "train: got label 2, expected a label from 0 to 1")],
)  # fmt: skip
def test_stated_names_that_contradict(own, names, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write_splits({"train": stated(own)}, names, tmp_path)


def test_stated_names_can_be_replaced(tmp_path):
    names = ["insect", "bee", "beast"]
    assert labels_of({"train": stated(NAMES)}, names, tmp_path)[1] == names
    assert labels_of({"train": stated(["ant ", "bee", "cow"])}, NAMES, tmp_path)[1] == NAMES
    other = {"train": stated(NAMES), "validation": stated(NAMES), "test": stated(NAMES[::-1])}
    with pytest.raises(
        UserError, match="test: got the class names cow, bee, ant, expected those of train"
    ):
        write_splits(other, None, tmp_path)


def test_a_file_that_was_edited_is_written_again(tmp_path):
    table, names = write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path)
    Image.fromarray(IMAGES[1]).save(table.parent / "train/0000000.png")
    assert write_splits({"train": (IMAGES, LABELS)}, NAMES, tmp_path) == (table, names)
    written = np.asarray(Image.open(table.parent / "train/0000000.png"))
    np.testing.assert_array_equal(written, IMAGES[0])


@pytest.mark.slow
def test_a_run_on_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], "uint8")
    labels = np.arange(30) % 3
    images = np.broadcast_to(colours[labels][:, None, None], (30, 16, 16, 3)).copy()
    images[:, 0, 0, 0] = np.arange(30)  # no two images are equal
    words = ["model.image_size=16", "train.epochs=8", "train.batch_size=8", "export=none"]
    names = ["zebra", "ant", "moth"]
    run = finetune(*words, train=(images, labels), class_names=names)
    assert run.class_names == names
    answers = np.asarray(run.model(run.preprocess(images[:12]))).argmax(-1)
    assert (answers == labels[:12]).all()
    assert run.result["test_examples"] == 3
    of_arrays = load_source(run.saved.dataset)
    assert (
        of_arrays.hash_kind != FileSource.hash_kind
    )  # a JPEG of the same picture is no other image
    with pytest.raises(UserError, match="train: got nothing beside"):
        finetune(*words, class_names=NAMES)
