"""Caches of decoded images give equal batches, and a later run reuses a cache on disk."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf
from rich.console import Console

from cait_finetune.config import AugmentConfig, ColumnsConfig, DatasetConfig
from cait_finetune.data import image_cache
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.image_cache import ImageCache
from cait_finetune.data.image_files.files import FileSource
from cait_finetune.data.load import load_source
from cait_finetune.data.pipeline import train_batches
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.targets import ANY_CLASSES
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import from_folder, from_table, table
from tests.cait_finetune.stand_ins import encode, examples, picture, source_of, write_set

COUNT = 9
PREPROCESSING = Preprocessing(8, 1.0, "bilinear", (0.0,) * 3, (1.0,) * 3)
#: No crop: without a cache the pipeline would decode only the crop, and the last bits would differ.
PLAIN = AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], flip=0.5)


class Cached:
    """A cache of one source, with its console output."""

    def __init__(self, source, directory: Path, cache="disk", on_corrupt="skip", **preprocessing):
        self.config = DatasetConfig(name="some/set", cache=cache, cache_dir=str(directory))
        self.corrupt = CorruptImages(on_corrupt)
        self.console = Console(record=True, file=io.StringIO(), width=500)
        self.source = source
        self.preprocessing = dataclasses.replace(PREPROCESSING, **preprocessing)
        self.cache = ImageCache(source, self.config, self.preprocessing, self.corrupt, self.console)

    def said(self) -> str:
        return self.console.export_text()

    def examples(self) -> list[dict]:
        return list(self.cache("train").as_numpy_iterator())

    def batches(self, augmentation=PLAIN, count=5) -> list:
        made = train_batches(
            self.source,
            self.config,
            augmentation,
            self.preprocessing,
            4,
            0,
            self.corrupt,
            decoded=self.cache("train"),
        )
        return list(made.take(count).as_numpy_iterator())


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)
            assert np.asarray(left).dtype == np.asarray(right).dtype


def tfds_source(directory: Path, bad: tuple[int, ...] = ()):
    files = examples(COUNT)
    for index in bad:
        files[index] = (b"half a file", index % 2)
    return source_of(write_set(directory, {"train": files}))


def photographs(root: Path, count: int = COUNT) -> Path:
    """Write images of several sizes and formats into two class folders. EXIF rotates the JPEGs."""
    kinds = ("PNG", "JPEG", "BMP")
    for number in range(count):
        path = root / ("cat", "dog")[number % 2] / f"{number:02}.img"
        path = path.with_suffix(f".{kinds[number % 3].lower()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"exif": turned()} if kinds[number % 3] == "JPEG" else {}
        image = picture(20 + number, 30 - number, number)
        path.write_bytes(encode(image, kinds[number % 3], **options))
    return root


def turned() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photographs"), 20)


@pytest.fixture(scope="module")
def of_tfds(tmp_path_factory):
    return tfds_source(tmp_path_factory.mktemp("data"))


@pytest.fixture
def source(folder, of_tfds, request):
    return of_tfds if request.param == "tfds" else from_folder(folder)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["tfds", "folder"], indirect=True)
def test_the_batches_are_the_same_wherever_the_images_are_kept(source, tmp_path):
    # Undecoded records of a folder are small, so the shuffle buffer holds all of them. For decoded
    # images it has a fixed size, which is also enough for all images here.
    plain, memory, disk = (
        Cached(source, tmp_path, cache).batches() for cache in ("none", "memory", "disk")
    )
    assert_same(memory, plain)
    assert_same(disk, plain)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["tfds", "folder"], indirect=True)
def test_the_cache_holds_the_decoded_examples(source, tmp_path):
    both = (True, False) if isinstance(source, FileSource) else (True,)
    for upright in both:
        cached = Cached(source, tmp_path, upright=upright)
        pairs = zip(cached.examples(), source.examples("train").as_numpy_iterator(), strict=True)
        for got, wanted in pairs:
            pixels = cached.preprocessing.decode(wanted.pop("image")).numpy()
            np.testing.assert_array_equal(got.pop("image"), pixels)
            assert got == wanted
    assert len(list(tmp_path.glob("*.tfrecord"))) == len(
        both
    )  # EXIF rotation makes different images


@pytest.mark.slow
@pytest.mark.parametrize("source", ["tfds", "folder"], indirect=True)
def test_the_estimate_equals_the_decoded_size(source, tmp_path):
    cached = Cached(source, tmp_path)
    taken = sum(example["image"].nbytes for example in cached.examples())
    assert cached.cache.estimate("train") == pytest.approx(taken, rel=1e-6)


def test_the_estimate_samples_images_from_the_whole_split(tmp_path, monkeypatch):
    for name, side in (("cat", 4), ("dog", 16)):
        for number in range(20):
            path = tmp_path / name / f"{number:02}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode(picture(side, side, side * 20 + number)))
    monkeypatch.setattr(image_cache, "_SAMPLE", 8)
    cached = Cached(from_folder(tmp_path), tmp_path / "cache")
    assert cached.cache.estimate("train") == pytest.approx(16 * 3 * (4**2 + 16**2), rel=0.05)


@pytest.mark.slow
def test_the_estimate_skips_corrupt_images(tmp_path):
    cached = Cached(tfds_source(tmp_path, (0, 3)), tmp_path)
    assert cached.cache.estimate("train") == COUNT * 16 * 16 * 3
    assert len(cached.corrupt) == 0
    every = Cached(tfds_source(tmp_path / "2", range(COUNT)), tmp_path)
    assert every.cache.estimate("train") == 0


@pytest.mark.slow
def test_a_cache_larger_than_the_free_space_is_refused(of_tfds, tmp_path, monkeypatch):
    needed = COUNT * 16 * 16 * 3
    Free = namedtuple("Free", "available free")
    for share, refused in ((1.2, True), (1.3, False)):  # a cache may fill 80 % of the free space
        free = Free(int(needed * share), int(needed * share))
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: free)
        for cache, instead in (("memory", "disk"), ("disk", "none")):
            made = Cached(of_tfds, tmp_path / cache, cache)
            if not refused:
                assert made.cache("train") is not None
                continue
            with pytest.raises(UserError) as error:
                made.cache("train")
            assert str(error.value).startswith(
                f"dataset.cache: got {cache}, for 9 train images that take 6.9 kB decoded, "
                "expected at most 80% of the 8.3 kB that are free"
            )
            assert f"use dataset.cache={instead}" in str(error.value)
            assert list((tmp_path / cache).glob("*")) == []


@pytest.mark.slow
def test_nothing_is_kept_unless_asked_for(of_tfds, tmp_path):
    assert Cached(of_tfds, tmp_path / "none", "none").cache("train") is None
    list(Cached(of_tfds, tmp_path / "none", "memory").cache("train"))
    assert not (tmp_path / "none").exists()


@pytest.fixture
def filled(folder, tmp_path):
    """Return a filled cache on disk, and its two files."""
    cached = Cached(from_folder(folder), tmp_path / "cache")
    cached.examples()
    (record,) = (tmp_path / "cache").glob("*.tfrecord")
    (facts,) = (tmp_path / "cache").glob("*.json")
    assert {record, facts} == set((tmp_path / "cache").iterdir())
    assert record.name.startswith("some-set-train-")
    assert f"kB kept in {record}" in cached.said()
    return cached, record, facts


def test_a_second_run_uses_them_again(filled, folder, monkeypatch):
    cached, record, _ = filled
    again = Cached(from_folder(folder), record.parent)
    monkeypatch.setattr(tf.io, "TFRecordWriter", None)  # nothing is written
    assert repr(again.examples()) == repr(cached.examples())
    assert f"images of train used again from {record}" in again.said()
    assert "decoded" not in again.said()


def damages(record: Path, facts: Path) -> dict[str, Callable[[], object]]:
    return {
        "absent": facts.unlink,
        "cut": lambda: facts.write_text(facts.read_text(encoding="utf-8")[:7], encoding="utf-8"),
        "no json": lambda: facts.write_bytes(b"\xff\x00"),
        "other": lambda: facts.write_text("[]", encoding="utf-8"),
        "record": lambda: os.truncate(record, record.stat().st_size // 2),
        "no record": record.unlink,
    }


@pytest.mark.parametrize("damage", damages(Path(), Path()))
def test_an_incomplete_cache_file_is_detected(tmp_path, damage):
    record, facts = tmp_path / "some.tfrecord", tmp_path / "some.json"
    with tf.io.TFRecordWriter(str(record)) as writer:
        writer.write(b"some.tfrecord")
    size = record.stat().st_size
    facts.write_text(json.dumps({"name": record.name, "corrupt": ["a"], "bytes": size}))
    assert image_cache._whole(record, facts) == ["a"]
    damages(record, facts)[damage]()
    assert image_cache._whole(record, facts) is None


@pytest.mark.parametrize("copied", [["record"], ["facts"], ["record", "facts"]])
def test_a_copy_of_another_cache_is_not_read(tmp_path, copied):
    files = {}
    for name in ("one", "two"):  # of one size
        record, facts = tmp_path / f"{name}.tfrecord", tmp_path / f"{name}.json"
        with tf.io.TFRecordWriter(str(record)) as writer:
            writer.write(record.name.encode())
        about = {"name": record.name, "corrupt": [], "bytes": record.stat().st_size}
        facts.write_text(json.dumps(about))
        files[name] = {"record": record, "facts": facts}
    assert image_cache._whole(*files["two"].values()) == []
    for kind in copied:
        shutil.copy(files["one"][kind], files["two"][kind])
    assert image_cache._whole(*files["two"].values()) is None


@pytest.mark.slow
def test_an_incomplete_cache_is_filled_again(filled, folder):
    cached, record, facts = filled
    wanted = repr(cached.examples())
    damages(record, facts)["record"]()
    again = Cached(from_folder(folder), record.parent)
    assert repr(again.examples()) == wanted
    assert "decoded" in again.said()
    assert json.loads(facts.read_text()) == {
        "name": record.name,
        "corrupt": [],
        "bytes": record.stat().st_size,
    }


@pytest.mark.slow
def test_a_changed_image_is_decoded_anew(tmp_path):
    root = photographs(tmp_path / "images", 20)
    before = Cached(from_folder(root), tmp_path / "cache").examples()
    changed = root / before[0]["id"].decode()
    changed.write_bytes(encode(picture(9, 9, 99), "PNG"))
    again = Cached(from_folder(root), tmp_path / "cache")
    np.testing.assert_array_equal(again.examples()[0]["image"], picture(9, 9, 99))
    assert "decoded" in again.said()


@pytest.mark.slow
def test_an_image_replaced_in_the_same_second_is_decoded_anew(tmp_path):
    for number in range(20):
        path = tmp_path / "images" / ["cat", "dog"][number % 2] / f"{number:02}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(picture(9, 9, number), "BMP"))
    before = Cached(from_folder(tmp_path / "images"), tmp_path / "cache").examples()
    changed = tmp_path / "images" / before[0]["id"].decode()
    stat = changed.stat()
    changed.write_bytes(encode(picture(9, 9, 99), "BMP"))
    second = stat.st_mtime_ns // 10**9 * 10**9
    os.utime(changed, ns=(second, second + (stat.st_mtime_ns + 1) % 10**9))
    assert changed.stat().st_size == stat.st_size
    again = Cached(from_folder(tmp_path / "images"), tmp_path / "cache")
    np.testing.assert_array_equal(again.examples()[0]["image"], picture(9, 9, 99))


@pytest.mark.slow
def test_weights_that_are_all_one_are_kept_apart_from_none(tmp_path):
    photographs(tmp_path, 12)
    paths = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))
    rows = [f"{path},{path[:3]},1" for path in paths]
    where = table(tmp_path / "w.csv", rows, "path,label,weight")
    without = from_table(where)
    weighted = from_table(where, columns=ColumnsConfig(weight="weight"))
    for source, has in ((without, False), (weighted, True)):
        (first, *_) = Cached(source, tmp_path / "cache").examples()
        assert ("weight" in first) == has


@pytest.mark.slow
def test_corrupt_images_are_left_out_and_counted_each_time(tmp_path):
    source = tfds_source(tmp_path / "data", (1, 4))
    every = [one["id"].decode() for one in source.examples("train").as_numpy_iterator()]
    for _ in range(2):
        cached = Cached(source, tmp_path / "cache")
        got = [one["id"].decode() for one in cached.examples()]
        assert got == [name for index, name in enumerate(every) if index not in (1, 4)]
        assert cached.corrupt.ids == [every[1], every[4]]
    # A run with on_corrupt="stop" still stops when the cache lists them.
    with pytest.raises(UserError, match="corrupt image"):
        Cached(source, tmp_path / "cache", on_corrupt="stop").cache("train")


@pytest.mark.slow
def test_the_cache_keeps_the_reason_of_a_refusal(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(6):
            np.save(
                tmp_path / name / f"{number}.npy",
                np.full((4, 4, 2 + (number == 0)), number, "uint8"),
            )
    config = DatasetConfig(source="folder", name="folder", data_dir=str(tmp_path))
    source = load_source(config, channels=2)
    bands = {"mean": (0.0,) * 2, "std": (1.0,) * 2}
    split = next(one for one in source.sizes if any("/0" in name for name in source.ids(one)))
    list(Cached(source, tmp_path / "cache", **bands).cache(split))
    with pytest.raises(UserError, match=r"0\.npy of 3 channels, expected images of 2 channels"):
        Cached(source, tmp_path / "cache", on_corrupt="stop", **bands).cache(split)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "on_corrupt", "words"),
    [
        ((1, 4), "stop", "got the corrupt image"),
        (range(COUNT), "stop", "got the corrupt image"),
        (range(COUNT), "skip", "got 9 corrupt images"),
    ],
)
def test_corrupt_images_that_end_it_leave_nothing_half_written(tmp_path, bad, on_corrupt, words):
    cached = Cached(tfds_source(tmp_path, bad), tmp_path / "cache", on_corrupt=on_corrupt)
    with pytest.raises(UserError, match=words):
        cached.cache("train")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.slow
def test_a_break_off_leaves_nothing_half_written(of_tfds, tmp_path, monkeypatch):
    made = []

    def interrupted(example):
        made.append(example)
        if len(made) == 3:
            raise KeyboardInterrupt
        return b""

    monkeypatch.setattr(image_cache, "_serialised", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Cached(of_tfds, tmp_path).cache("train")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_a_file(of_tfds, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        Cached(of_tfds, tmp_path / "file").cache("train")
    assert str(error.value).startswith(f"dataset.cache_dir: got {tmp_path / 'file'} (")
    assert "expected a directory that can be written" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tf.errors.PermissionDeniedError, "Permission denied"),
        (tf.errors.ResourceExhaustedError, "No space left on device"),
    ],
)
def test_a_write_error_of_tensorflow_names_cache_dir_and_reason(
    of_tfds, tmp_path, monkeypatch, kind, reason
):
    class Writer:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, record):
            raise kind(None, None, f"{self.path}; {reason}")

    monkeypatch.setattr(tf.io, "TFRecordWriter", Writer)
    with pytest.raises(UserError) as error:
        Cached(of_tfds, tmp_path).cache("train")
    assert str(error.value).startswith(f"dataset.cache_dir: got {tmp_path} ({reason}), expected")


@pytest.mark.slow
def test_weights_and_several_labels_are_kept(tmp_path):
    photographs(tmp_path, 12)
    paths = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))
    labels = ["cat", "dog", "cat|dog"]
    several = table(tmp_path / "m.csv", [f"{p},{labels[i % 3]}" for i, p in enumerate(paths)])
    weights = table(
        tmp_path / "w.csv",
        [f"{path},{path[:3]},{number % 4 / 3}" for number, path in enumerate(paths)],
        "path,label,weight",
    )
    sources = [
        from_table(several, target=ANY_CLASSES),
        from_table(weights, columns=ColumnsConfig(weight="weight")),
    ]
    assert [(one.target is ANY_CLASSES, one.weighted) for one in sources] == [
        (True, False),
        (False, True),
    ]
    for source in sources:
        plain, disk = (
            Cached(source, tmp_path / "cache", cache).batches(count=3) for cache in ("none", "disk")
        )
        assert plain[0][1].shape == (4, 2)
        assert_same(disk, plain)
