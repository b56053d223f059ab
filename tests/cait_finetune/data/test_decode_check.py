"""Corrupt validation and test images are found before training, if the check is cheap."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data import decode_check
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.decode_check import check_decoding, least_training_seconds
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.pipeline import evaluation_stream
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.source import SPLITS
from cait_finetune.errors import UserError
from cait_finetune.workflow.setup import prepare
from tests.cait_finetune.stand_ins import (
    checked,
    encode,
    examples,
    picture,
    source_of,
    write_set,
)

BROKEN = encode(picture(64, 64), "JPEG")[:200]
PLAIN = Preprocessing(8, 1.0, "bilinear", (0.0,) * 3, (1.0,) * 3)
MUCH = 10**9  # training images; any check is cheap in comparison


def check(source, corrupt, **options):
    """Check in batches of two; return the number of batches."""
    batches = 0

    def counted(split):
        nonlocal batches
        for batch in evaluation_stream(source, split, PLAIN, 2, corrupt):
            batches += 1
            yield batch

    passes = {split: counted(split) for split in ("validation", "test")}
    check_decoding(passes, source.sizes, **{"trained": MUCH, **options})
    return batches


def files_of(directory, count=8, bad=()):
    """Return a source of `count` validation images and `count` test images.

    The validation images have the numbers from 0, the test images the numbers from `count`. The
    images with numbers in `bad` are corrupt. Training uses the validation images.
    """
    directory.mkdir(exist_ok=True)
    paths = []
    for number, (data, _) in enumerate(examples(2 * count)):
        paths.append(directory / f"{number}.png")
        paths[-1].write_bytes(BROKEN if number in bad else data)
    parts = {"train": paths[:count], "validation": paths[:count], "test": paths[count:]}
    files = {
        split: Files(
            np.array([str(path) for path in of_split], object),
            np.array([path.name for path in of_split], object),
            np.arange(count, dtype=np.int32) % 2,
        )
        for split, of_split in parts.items()
    }
    return FileSource(("cat", "dog"), dict.fromkeys(SPLITS, count), files=files)


@pytest.mark.slow
def test_sound_images_are_all_decoded_without_a_note(tmp_path):
    corrupt = CorruptImages("stop")
    assert check(files_of(tmp_path), corrupt) == 8
    assert corrupt.ids == []


@pytest.mark.slow
@pytest.mark.parametrize("bad", [(11,), (3, 4, 15)])
def test_a_corrupt_image_stops_the_run_or_is_left_out(bad, tmp_path):
    source = files_of(tmp_path, bad=bad)
    with pytest.raises(UserError) as error:
        check(source, CorruptImages("stop"))
    assert str(error.value).startswith(f"dataset: got the corrupt image {bad[0]}.png, expected")
    corrupt = CorruptImages("skip")
    check(source, corrupt)
    assert corrupt.ids == [f"{number}.png" for number in bad]
    check(source, corrupt, trained=MUCH)  # the corrupt images are known
    assert len(corrupt) == len(bad)


@pytest.mark.slow
def test_a_corrupt_image_of_a_prepared_set(tmp_path):
    files = examples(6)
    files[4] = (BROKEN, 0)
    source = source_of(write_set(tmp_path, {"train": files}))
    with pytest.raises(UserError, match=r"the corrupt image some_files-train.*__4, expected"):
        check(source, CorruptImages("stop"))


@pytest.mark.slow
def test_a_file_that_is_gone_is_met_as_well(tmp_path):
    source = files_of(tmp_path)
    (tmp_path / "12.png").unlink()
    corrupt = CorruptImages("skip")
    check(source, corrupt)
    assert corrupt.ids == ["12.png"]


@pytest.mark.slow
def test_a_split_of_corrupt_images_alone(tmp_path):
    source = files_of(tmp_path, bad=range(8, 16))
    with pytest.raises(UserError, match="8 corrupt images"):
        check(source, CorruptImages("skip"))


@pytest.mark.slow
def test_the_check_ends_after_a_twentieth_of_the_training(tmp_path, monkeypatch):
    """A fake clock advances by ten seconds per batch."""
    now = [0.0]

    def clock():
        now[0] += 10
        return now[0]

    monkeypatch.setattr(decode_check.time, "perf_counter", clock)
    monkeypatch.setattr(decode_check, "_FEW", 15)
    source = files_of(tmp_path)

    def done(**options) -> int:
        return 2 * check(source, CorruptImages("stop"), **options)

    assert done(trained=1) == 4  # one second is over after the second batch
    assert done(trained=1, least_seconds=20 * 25) == 8
    assert done(trained=1, least_seconds=20 * 1000) == 16
    assert done(trained=16 * 20) == 16  # a twentieth of the images, at any speed
    assert done(trained=16 * 20 - 1) == 4
    # After an error the check searches for the corrupt image without a time limit.
    source = files_of(tmp_path, bad=[3])
    with pytest.raises(UserError, match=r"the corrupt image 3\.png"):
        done(trained=1)


def test_least_training_seconds_scale_with_images_and_device(monkeypatch):
    monkeypatch.setattr(decode_check.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    # cait_xxs24_224: its parameters, its tokens, and the images that two cores train per second.
    seconds = least_training_seconds(12_000_000, 196, 21)
    assert 0.05 < seconds < 1
    assert least_training_seconds(12_000_000, 196, 42) == pytest.approx(2 * seconds)
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind: [1] if kind == "GPU" else []
    )
    assert 0 < least_training_seconds(12_000_000, 196, 21) < seconds / 1000


@pytest.mark.slow
def test_a_run_meets_a_corrupt_test_image_before_its_first_step(tmp_path):
    for number in range(16):
        split = ("train", "train", "val", "test")[number // 4]
        path = tmp_path / "images" / split / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = encode(picture(32, 32, seed=number), "JPEG")
        path.write_bytes(data[:-200] if number == 15 else data)
    words = ["dataset=folder", f"dataset.data_dir={tmp_path / 'images'}", "train.batch_size=4"]
    with pytest.raises(UserError, match=r"dataset: got the corrupt image test/b/15\.jpg"):
        prepare(checked(*words), tmp_path / "stopped")
    prepared = prepare(checked(*words, "dataset.on_corrupt=skip"), tmp_path / "skipped")
    assert prepared.streams.corrupt.ids == ["test/b/15.jpg"]
