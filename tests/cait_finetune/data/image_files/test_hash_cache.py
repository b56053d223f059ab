"""An unchanged file is read once. A changed file is read again."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest

from cait_finetune.data.image_files import hash_cache, storage
from cait_finetune.data.image_files.inspection import inspected
from cait_finetune.data.label_index import cache_directory
from tests.cait_finetune.stand_ins import encode, picture


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write four images whose hashes the cache keeps at once; return their paths."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hash_cache, "_SETTLED", 0)
    paths = [str(tmp_path / "images" / f"{number}.png") for number in range(4)]
    (tmp_path / "images").mkdir()
    for number, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(encode(picture(8, 8, seed=number), "PNG"))
    return paths


@pytest.fixture
def read(monkeypatch):
    """Return a function that returns the names of the files read since its last call."""
    names, original = [], storage.read

    def noted(path):
        names.append(os.path.basename(path))
        return original(path)

    monkeypatch.setattr(storage, "read", noted)

    def since():
        told = sorted(names)
        names.clear()
        return told

    return since


def test_an_unchanged_file_is_read_once(files, read):
    hashes = inspected(files, files, "stop").tolist()
    assert len(set(hashes)) == 4
    assert read() == ["0.png", "1.png", "2.png", "3.png"]
    assert inspected(files, files, "stop").tolist() == hashes
    assert inspected(files[::-1], files[::-1], "stop").tolist() == hashes[::-1]
    assert read() == []
    # A call with fewer files keeps the hashes of the other files.
    assert inspected(files[:2], files[:2], "stop").tolist() == hashes[:2]
    assert inspected(files, files, "stop").tolist() == hashes
    assert read() == []


def test_each_kind_of_check_reads_the_files(files):
    with open(files[1], "wb") as file:
        file.write(encode(picture(8, 8), "BMP"))
    with open(files[2], "wb") as file:
        np.save(file, picture(8, 8))
    for _ in range(2):  # in the second turn each kind knows the files that passed
        for bands, bad in ((False, 2), (True, 1)):
            found = inspected(files, files, "skip", bands)
            assert np.flatnonzero(found < 0).tolist() == [bad]


def test_another_content_is_read_even_with_the_old_size_and_time(files, read):
    hashes = inspected(files, files, "stop").tolist()
    read()
    before = os.stat(files[1])
    with open(files[1], "r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"?")
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = inspected(files, files, "stop").tolist()
    assert read() == ["1.png"]
    assert [one == two for one, two in zip(hashes, after, strict=True)] == [True, False, True, True]
    os.replace(files[2], files[3])
    swapped = inspected(files[:2] + files[3:], files[:2] + files[3:], "stop").tolist()
    assert swapped == [*after[:2], after[2]]


def test_files_that_were_just_written_are_not_kept(files, read, monkeypatch):
    monkeypatch.setattr(hash_cache, "_SETTLED", 10**12)
    for _ in range(2):
        inspected(files, files, "stop")
        assert len(read()) == 4


def test_an_unreadable_file_is_read_again(files, read):
    with open(files[0], "wb"):
        pass
    for _ in range(2):
        assert inspected(files, files, "skip")[0] == -1
    assert read().count("0.png") == 2


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_cache_costs_time_alone(files, read, damage):
    hashes = inspected(files, files, "stop").tolist()
    (kept,) = cache_directory().with_name("contents").iterdir()
    kept.write_bytes(kept.read_bytes()[:100] if damage is None else damage)
    read()
    for count in (4, 0):
        assert inspected(files, files, "stop").tolist() == hashes
        assert len(read()) == count


def test_a_cache_that_cannot_be_written_costs_nothing_else(files, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert min(inspected(files, files, "stop")) >= 0


def test_inodes_distinguish_swapped_folders(files, read, monkeypatch):
    """The times cannot show the swap.

    Files of one archive can have equal times, and renaming a folder keeps the times of its files.
    """
    real = os.stat

    def within_a_tick(path):
        return SimpleNamespace(st_size=9, st_mtime_ns=1, st_ctime_ns=1, st_ino=real(path).st_ino)

    monkeypatch.setattr(storage, "os", SimpleNamespace(**{**vars(os), "stat": within_a_tick}))
    hashes = inspected(files, files, "stop").tolist()
    assert inspected(files, files, "stop").tolist() == hashes
    assert len(read()) == 4
    os.rename(files[0], f"{files[0]}.away")
    os.rename(files[1], files[0])
    os.rename(f"{files[0]}.away", files[1])
    assert inspected(files, files, "stop").tolist() == [hashes[1], hashes[0], *hashes[2:]]
