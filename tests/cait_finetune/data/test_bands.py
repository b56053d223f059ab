"""Images of any number of channels: their files, their values, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import logging

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from cait_finetune.config import DatasetConfig
from cait_finetune.data import tiff
from cait_finetune.data.bands import decode_bands, tensor_bytes
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.load import load_source
from cait_finetune.data.pipeline import evaluation_stream
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.refusal import refusal
from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.several_labels import SEVERAL_LABELS
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import prepare

RNG = np.random.default_rng(0)
LEVELS = RNG.integers(0, 256, (6, 5, 4)).astype("uint8")
DEEP = RNG.integers(0, 65536, (6, 5)).astype("uint16")
FLOATS = RNG.normal(500.0, 300.0, (6, 5, 13)).astype("float32")


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def pillow(values: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


decode = tf.function(decode_bands, autograph=False, reduce_retracing=True)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (pillow(LEVELS[..., 0]), LEVELS[..., :1] / 255),
        (pillow(LEVELS[..., :2]), LEVELS[..., :2] / 255),
        (pillow(LEVELS), LEVELS / 255),
        (pillow(DEEP), DEEP[..., None] / 65535),
        (npy(LEVELS), LEVELS / 255),
        (npy(DEEP), DEEP[..., None] / 65535),
        (npy(FLOATS), FLOATS),
        (npy(FLOATS.astype("float64")), FLOATS),
        (npy(FLOATS.astype("float16")), FLOATS.astype("float16")),
        (tensor_bytes(tf.constant(FLOATS)), FLOATS),
        (tensor_bytes(tf.constant(DEEP)), DEEP[..., None] / 65535),
    ],
    ids=["grey", "alpha", "four", "deep", "npy8", "npy16", "npy32", "npy64", "half", "tensor", "tensor16"],
)  # fmt: skip
def test_values_are_in_one_unit(data, expected):
    for read in (decode, decode_bands):  # in a graph, and outside of one
        image = read(tf.constant(data), expected.shape[-1])
        np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-7)


def test_a_grey_photograph_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.repeat(np.arange(0, 240, 10, dtype="uint8")[:, None], 16, axis=1)  # (24, 16)
    data = pillow(grey, "JPEG", exif=exif, quality=95)
    assert decode(data, 1).shape == (16, 24, 1)
    assert decode(data, 1, upright=False).shape == (24, 16, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pillow(LEVELS[..., :3]), "3 channels, expected 4"),
        (pillow(LEVELS[..., 0]), "1 channel, expected 4"),
        (pillow(LEVELS[..., :3], "JPEG"), "3 channels, expected 4"),
        (npy(FLOATS), "13 channels, expected 4"),
        (npy(np.full((3, 3, 4), np.nan)), "NaN or infinity"),
        (npy(LEVELS.astype("int16")), "int16 values: convert them to uint16 or float32"),
        (npy(LEVELS.astype(">u2")), "big-endian uint16 values: convert"),
        (npy(LEVELS.astype("complex64")), "other values: convert"),
        (npy(LEVELS)[:-3], "an incomplete NPY"),
        (npy(LEVELS)[:11], "an incomplete NPY"),
        (npy(LEVELS[0, 0]), "an NPY without two or three axes"),
        (npy(np.asfortranarray(LEVELS)), "an NPY in Fortran order"),
        (pillow(LEVELS[..., :3], "GIF"), "no PNG, JPEG, NPY, TIFF"),
        (b"", "no PNG, JPEG, NPY, TIFF"),
    ],
)
def test_other_files_are_refused(data, reason):
    for read in (decode, decode_bands):  # in a graph, and outside of one
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            read(tf.constant(data), 4)
        assert refusal(caught.value).startswith(reason)


def preprocessing(channels: int = 4) -> Preprocessing:
    return Preprocessing(8, 1.0, "bicubic", (0.5,) * channels, (0.25,) * channels)


def test_bands_are_resized_as_in_mode_f():
    image = RNG.normal(500.0, 300.0, (20, 20, 2)).astype("float32")
    got = preprocessing(2)(tf.constant(image)).numpy()
    for band in range(2):
        wanted = Image.fromarray(image[..., band]).resize((8, 8), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(got[..., band], (np.asarray(wanted) - 0.5) / 0.25, rtol=1e-4)


def test_pictures_show_three_bands():
    bands = RNG.normal(0.0, 1.0, (2, 8, 8, 4)).astype("float32")
    shown = preprocessing().denormalise(bands)
    assert shown.shape == (2, 8, 8, 3)
    assert shown.min() == 0
    assert shown.max() == 1
    grey = preprocessing(2).denormalise(bands[..., :2])
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def folder(root, odd: bytes | None = None, count: int = 12):
    for name in ("ant", "bee"):
        (root / name).mkdir()
        for number in range(count):
            np.save(root / name / f"{number:02}.npy", RNG.random((8, 8, 4)).astype("float32"))
    if odd:
        (root / "bee" / "odd.png").write_bytes(odd)
    return DatasetConfig(source="folder", name="folder", data_dir=str(root))


@pytest.mark.slow
def test_a_file_with_other_channels_is_named(tmp_path):
    config = folder(tmp_path, odd=pillow(LEVELS[..., :3]))
    source = load_source(config, channels=4)
    split = next(one for one in source.sizes if "bee/odd.png" in source.ids(one))
    batches = evaluation_stream(source, split, preprocessing(), 4, CorruptImages("stop"))
    with pytest.raises(UserError) as caught:
        list(batches)
    assert "the image bee/odd.png of 3 channels, expected images of 4 channels" in str(caught.value)
    skipped = CorruptImages("skip")
    images = [real.numpy().sum() for _, _, real in
              evaluation_stream(source, split, preprocessing(), 4, skipped)]  # fmt: skip
    assert skipped.ids == ["bee/odd.png"]
    assert sum(images) == source.sizes[split] - 1


def tif(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    pytest.importorskip("tifffile").imwrite(file, values, photometric="minisblack")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("odd.npy", lambda: npy(LEVELS.astype("int16")), "int16 values: convert them to uint16 or float32"),
        ("odd.npy", lambda: npy(np.full((3, 3, 4), np.nan)), "NaN or infinity"),
        ("odd.tif", lambda: tif(LEVELS.astype("int32")), "a TIFF of int32, expected uint8, uint16"),
        ("odd.tif", lambda: tif(LEVELS)[:50], "a TIFF that tifffile cannot read ("),
        ("odd.png", lambda: pillow(LEVELS)[:50], ""),
    ],
)  # fmt: skip
def test_the_reason_of_a_refusal_is_given(tmp_path, name, data, reason):
    config = dataclasses.replace(
        folder(tmp_path), check=False
    )  # the check would find TIFF's faults
    (tmp_path / "bee" / name).write_bytes(data())
    source = load_source(config, channels=4)
    split = next(one for one in source.sizes if f"bee/{name}" in source.ids(one))
    with pytest.raises(UserError) as caught:
        list(evaluation_stream(source, split, preprocessing(), 4, CorruptImages("stop")))
    message = str(caught.value)
    assert message.startswith(f"dataset: got the corrupt image bee/{name} ({reason}")
    assert "(PNG, JPEG, NPY, TIFF)\n  Repair or remove it" in message
    assert "Assert" not in message


@pytest.mark.slow
def test_the_first_refused_image_stops(tmp_path, caplog):
    source = load_source(folder(tmp_path), channels=5)
    corrupt = CorruptImages("stop")
    with caplog.at_level(logging.WARNING, logger="cait_finetune"), pytest.raises(UserError):
        list(evaluation_stream(source, "train", preprocessing(5), 4, corrupt))
    assert len(corrupt) == len(caplog.records) == 1
    assert f"{corrupt.ids[0]}: 4 channels, expected 5" in caplog.text


@pytest.mark.slow
def test_without_an_image_of_the_right_channels_the_number_is_named(tmp_path):
    source = load_source(folder(tmp_path), channels=5)
    corrupt = CorruptImages("skip")
    with pytest.raises(UserError) as caught:
        list(evaluation_stream(source, "train", preprocessing(5), 4, corrupt))
    first = source.ids("train")[0]
    assert f"corrupt images ({first} has 4 channels, …) and no other in a split" in str(
        caught.value
    )
    assert str(caught.value).endswith("expected images of 5 channels\n  Set model.in_channels=4.")


def test_photographs_read_no_npy(tmp_path):
    config = folder(tmp_path)
    with pytest.raises(UserError, match=r"a class without an image; there are files \.npy"):
        load_source(config)


def test_a_tiff_without_its_reader_is_refused(tmp_path, monkeypatch):
    config = folder(tmp_path)
    (tmp_path / "bee" / "1.tif").write_bytes(b"II*\0")
    monkeypatch.setattr(tiff, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'cait-finetune\[tiff\]'") as caught:
        load_source(config, channels=4)
    assert "bee/1.tif, which needs tifffile" in str(caught.value)


@pytest.fixture(scope="module")
def satellite(tmp_path_factory) -> str:
    """Return the folder of a set like ``eurosat/all``: numbers of 13 bands, and pictures of 16 bits."""
    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("satellite")
    features = {
        "sentinel2": tfds.features.Tensor(shape=(6, 5, 13), dtype=np.float32),
        "deep": tfds.features.Image(shape=(6, 5, 1), dtype=np.uint16, encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["sea", "town"]),
    }

    def generate(self, size):
        for number in range(size):
            yield number, {
                "sentinel2": FLOATS + number, "deep": DEEP[..., None], "label": number % 2
            }  # fmt: skip

    def info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("sentinel2", "label")
        )

    prepare(
        directory, "satellite", _info=info, _generate_examples=generate,
        _split_generators=lambda self, _: {"train": generate(self, 30)},
    )  # fmt: skip
    return str(directory)


def satellite_config(directory: str, **columns) -> DatasetConfig:
    config = DatasetConfig(name="satellite", data_dir=directory)
    for name, value in columns.items():
        setattr(config.columns, name, value)
    return config


@pytest.mark.slow
def test_tfds_numbers_are_images(satellite):
    source = load_source(satellite_config(satellite), channels=13)
    example = next(source.examples("train").as_numpy_iterator())
    image = decode(example["image"], 13).numpy()
    assert image.shape == (6, 5, 13)
    number = int(example["id"].decode().rpartition("__")[2])
    assert np.isclose((image - FLOATS).std(), 0, atol=1e-3), number
    assert source.content_hashes("train") is not None


@pytest.mark.slow
def test_tfds_pictures_of_16_bits(satellite):
    source = load_source(satellite_config(satellite, image="deep"), channels=1)
    example = next(source.examples("train").as_numpy_iterator())
    np.testing.assert_allclose(decode(example["image"], 1)[..., 0], DEEP / 65535, rtol=1e-6)


def test_tfds_channels_must_fit(satellite):
    with pytest.raises(
        UserError, match=r"got 4 with 'sentinel2' of 13 channels, expected 13"
    ) as caught:
        load_source(satellite_config(satellite), channels=4)
    assert "Set model.in_channels=13" in str(caught.value)


@pytest.mark.parametrize("target", [ONE_CLASS, SEVERAL_LABELS], ids=lambda one: one.task)
def test_tfds_channels_that_were_forgotten_are_named(satellite, target):
    config = satellite_config(satellite, image="sentinel2")
    if target is SEVERAL_LABELS:
        config.columns.labels = ["label"]
    else:
        load_source(config, channels=13)
        config.columns.image = None  # the set states it
    with pytest.raises(
        UserError, match=r"got 'sentinel2', a tensor of numbers, .*\n  Set model\.in_channels=13\."
    ):
        load_source(config, target)
    config.columns.image = "sentinel2"
    with pytest.raises(UserError, match=r"Set model\.in_channels=13\."):
        load_source(config, target)
    config.columns.image = "deep"
    with pytest.raises(
        UserError, match=r"'deep', whose pixels are uint16.*\n  Set model\.in_channels=1\."
    ):
        load_source(config, target)
