"""The feature cache writes whole files, and reads a file only if every fact in its key is equal."""

import logging
import multiprocessing
import os
import shutil

import numpy as np
import pytest

from cait_finetune.data.feature_cache import FeatureCache, Features

FACTS = {"weights": "abc", "preprocessing": {"image_size": 16}, "images": {"files": [["a", 1, 2]]}}


def some(seed: int = 0, count: int = 50, width: int = 8) -> Features:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, width)).astype("float32")
    return Features(values, rng.integers(0, 3, count).astype("int32"), ("one.jpg", "zwölf"))


def same(one: Features, other: Features) -> bool:
    return (
        np.array_equal(one.values, other.values)
        and np.array_equal(one.labels, other.labels)
        and one.corrupt == other.corrupt
        and one.values.dtype == other.values.dtype
    )


def test_saved_features_are_loaded(tmp_path):
    cache = FeatureCache(tmp_path / "new" / "directory")
    path = cache.path("digits-train", FACTS)
    assert cache.load(path) is None
    assert cache.save(path, some())
    assert same(cache.load(path), some())
    assert [file.name for file in cache.directory.iterdir()] == [path.name]
    assert path.name.startswith("digits-train-")


def test_a_copy_of_another_file_is_not_read(tmp_path, caplog):
    cache = FeatureCache(tmp_path)
    mine, other = cache.path("x", FACTS), cache.path("x", {**FACTS, "weights": "abd"})
    cache.save(other, some())
    shutil.copy(other, mine)
    assert cache.load(mine) is None
    assert f"it is a copy of {other.name}" in caplog.text


def test_features_without_corrupt_images(tmp_path):
    cache, path = FeatureCache(tmp_path), tmp_path / "one.npz"
    cache.save(path, Features(some().values, some().labels))
    assert cache.load(path).corrupt == ()


@pytest.mark.parametrize(
    "other",
    [
        {**FACTS, "weights": "abd"},
        {**FACTS, "preprocessing": {"image_size": 32}},
        {**FACTS, "images": {"files": [["a", 1, 3]]}},
        {**FACTS, "more": 1},
    ],
)
def test_any_other_fact_is_another_file(other, tmp_path):
    cache = FeatureCache(tmp_path)
    assert cache.path("x", FACTS) == cache.path("x", dict(reversed(FACTS.items())))
    assert cache.path("x", other) != cache.path("x", FACTS)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_no_features_and_a_warning(share, tmp_path, caplog):
    cache, path = FeatureCache(tmp_path), tmp_path / "one.npz"
    cache.save(path, some())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with caplog.at_level(logging.WARNING):
        assert cache.load(path) is None
    assert f"{path} cannot be read" in caplog.text
    assert "computed anew" in caplog.text


def test_flipped_bytes_are_noticed(tmp_path, caplog):
    cache, path = FeatureCache(tmp_path), tmp_path / "one.npz"
    cache.save(path, some())
    damaged = bytearray(path.read_bytes())
    damaged[600] ^= 255
    path.write_bytes(damaged)
    assert cache.load(path) is None
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    "arrays",
    [
        {"values": np.zeros((3, 2)), "labels": np.zeros(4), "corrupt": np.array([], "U1")},
        {"values": np.zeros(3), "labels": np.zeros(3), "corrupt": np.array([], "U1")},
        {"values": np.zeros((3, 2)), "labels": np.zeros(3)},
        {"values": np.array([None]), "labels": np.zeros(3), "corrupt": np.array([], "U1")},
    ],
)
def test_a_file_of_something_else(arrays, tmp_path, caplog):
    np.savez(tmp_path / "one.npz", **arrays)
    assert FeatureCache(tmp_path).load(tmp_path / "one.npz") is None
    assert "cannot be read" in caplog.text


def test_a_directory_that_cannot_be_made_costs_nothing_but_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = FeatureCache(tmp_path / "file")
    assert not cache.save(cache.path("x", FACTS), some())
    assert "cannot be written" in caplog.text
    assert cache.load(cache.path("x", FACTS)) is None


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, caplog):
    cache, path = FeatureCache(tmp_path), tmp_path / "one.npz"
    cache.save(path, some())

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    assert not cache.save(path, some(1))
    assert "No space left" in caplog.text
    assert same(cache.load(path), some())
    assert os.listdir(tmp_path) == ["one.npz"]


def _write_often(directory, path, seed, barrier):
    cache, features = FeatureCache(directory), some(seed, 20_000)
    barrier.wait()
    for _ in range(30):
        assert cache.save(path, features)


def test_two_writers_never_leave_half_a_file(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    path = tmp_path / "one.npz"
    writers = [
        context.Process(target=_write_often, args=(tmp_path, path, seed, barrier))
        for seed in (0, 1)
    ]
    for writer in writers:
        writer.start()
    barrier.wait()
    cache, either = FeatureCache(tmp_path), [some(0, 20_000), some(1, 20_000)]
    seen = 0
    while any(writer.is_alive() for writer in writers):
        found = cache.load(path)
        if found is None:
            assert not seen
            continue
        seen += 1
        assert any(same(found, one) for one in either)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen
    assert os.listdir(tmp_path) == ["one.npz"]
