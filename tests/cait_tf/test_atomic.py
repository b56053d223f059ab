"""Atomic writes: the new or the old file, errors that name the file, no temporary files left."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cait_tf.atomic import PREFIX, atomic_open, atomic_path, naming, remove_partial, write_text


def left(folder) -> list[str]:
    return [path.name for path in folder.rglob(f"{PREFIX}*")]


def write_half(path):
    with atomic_open(path) as file:
        file.write("half")
        raise KeyboardInterrupt


def test_a_file_becomes_another_as_a_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "é1")
    write_text(path, "ö2")
    assert path.read_bytes() == "ö2".encode()
    assert left(tmp_path) == []


def test_an_error_inside_leaves_the_file_before(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "whole")
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "whole"
    assert left(tmp_path) == []


def test_the_temporary_name_keeps_the_ending(tmp_path):
    with atomic_path(tmp_path / "a.npz") as partial:
        np.savez(partial, one=np.ones(1))
    assert np.load(tmp_path / "a.npz")["one"] == 1


def test_a_directory_takes_the_place_of_one_that_is_not_empty(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with atomic_path(tmp_path / "model") as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert os.listdir(tmp_path / "model") == ["new"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    write_text(tmp_path / "link.txt", "one")
    assert (tmp_path / "elsewhere.txt").read_text() == "one"
    assert (tmp_path / "link.txt").is_symlink()


def test_the_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_text(tmp_path / "atomic", "")
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        write_text(tmp_path / "none" / "a.txt", "")
    assert raised.value.filename == str(tmp_path / "none" / "a.txt")


@pytest.mark.parametrize(
    "text",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        f"/place/{PREFIX}12-ab-model/x; No space left on device",
        "Unable to synchronously write data (file write failed: errno = 28, error message = …)",
    ],
)
def test_errors_of_libraries_become_the_systems(text):
    with pytest.raises(OSError, match="No space left") as raised, naming("a.bin"):
        raise RuntimeError(text)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, "a.bin")


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match=r"^shapes"), naming("a.bin"):
        raise RuntimeError("shapes")
    with pytest.raises(RuntimeError, match="read"), naming("a.bin"):  # about a file that is read
        raise RuntimeError("read images/1.jpg; Input/output error")
    with pytest.raises(OSError, match="reading") as raised, naming("a.bin"):
        raise OSError(errno.EIO, "reading", "images/1.jpg")
    assert raised.value.filename == "images/1.jpg"


def test_a_full_disk_leaves_the_file_before_and_is_named(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "whole")
    code = (
        "import resource, sys\nfrom cait_tf.atomic import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, -1))\n"
        "try:\n    write_text(sys.argv[1], 'x' * 9)\n"
        "except OSError as error:\n    print(error.filename, error.errno)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(path), str(errno.EFBIG)]
    assert path.read_text() == "whole"
    assert left(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0


def test_temporary_files_of_a_killed_process_are_removed_after_a_day(tmp_path):
    code = (
        "import os, signal, sys\nfrom cait_tf.atomic import atomic_open\n"
        "with atomic_open(sys.argv[1]) as file:\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "a[1].txt"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, path], check=False)
        assert done.returncode == -signal.SIGKILL
    old, young = (tmp_path / name for name in left(tmp_path))
    os.utime(old, (time.time() - 100_000,) * 2)
    write_text(path, "whole")
    assert left(tmp_path) == [young.name]
    remove_partial(tmp_path)
    assert left(tmp_path) == []
