"""Listing of image files: file endings, litter such as ``.DS_Store``, links and globs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cait_finetune.data.image_files.listing import (
    files_below,
    is_image,
    is_litter,
    local_entries,
    matching,
)

LITTER = (
    *(".DS_Store", "._x.jpg", ".ipynb_checkpoints", "__MACOSX", "lost+found", "#recycle"),
    *(
        "$RECYCLE.BIN",
        "$Recycle.Bin",
        "System Volume Information",
        "@eaDir",
        "Thumbs.db",
        "desktop.ini",
    ),
)


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_is_image_accepts_the_endings_of_supported_formats():
    for name in ("a.jpg", "a.JPEG", "a.jfif", "a.jpe", "a.png", "a.gif", "a.bmp", "a.WebP"):
        assert is_image(name)
    for name in ("a.tif", "jpg", "a.jpg.txt", "a"):
        assert not is_image(name)


def test_is_litter_recognises_system_files_only():
    assert all(map(is_litter, LITTER))
    for name in ("#1 fan", "#recycled", "recycle", "$5", "@home", "lost", "thumbs", "a.b", "_"):
        assert not is_litter(name)


def test_litter_and_pipes_are_left_out(tmp_path):
    put(tmp_path, *LITTER, "b.jpg", "#1 fan/a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    assert local_entries(str(tmp_path)) == [
        ("#1 fan", True),
        ("b.jpg", False),
        ("broken.jpg", False),
        ("self.jpg", False),
    ]


def test_links_are_followed_and_loops_end(tmp_path):
    put(tmp_path, "root/a/1.jpg", "root/a/deep/2.jpg", "elsewhere/3.jpg")
    (tmp_path / "root/a/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/a/loop").symlink_to(tmp_path / "root")
    (tmp_path / "root/a/deep/loop").symlink_to(tmp_path / "root/a")
    (tmp_path / "elsewhere/loop").symlink_to(tmp_path / "root")
    found = ["1.jpg", "deep/2.jpg", "link/3.jpg"]
    root = str(tmp_path / "root")
    assert sorted(files_below(root)) == [f"a/{path}" for path in found]
    assert sorted(files_below(f"{root}/a", within=root)) == found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a", "b.jpg", "c"]),
        ("./*.jpg", ["./b.jpg"]),
        ("**/*.jpg", ["a/1.jpg", "a/deep/2.jpg", "b.jpg", "c/1.jpg"]),
        ("**", ["", "a", "a/1.jpg", "a/deep", "a/deep/2.jpg", "a/x.txt", "b.jpg", "c", "c/1.jpg"]),
        ("a/**/2.*", ["a/deep/2.jpg"]),
        ("[ab]*", ["a", "b.jpg"]),
        ("?/[!2].jpg", ["a/1.jpg", "c/1.jpg"]),
        (".hid*/*", [".hidden/1.jpg"]),
        ("a/.hidden/*", ["a/.hidden/1.jpg"]),  # the hidden folder is named
        ("@eaDir/*", ["@eaDir/1.jpg"]),
        ("b.jpg/*", []),
        ("nothing/*", []),
        ("a/../*.jpg", ["a/../b.jpg"]),
    ],
)
def test_matching_expands_globs(pattern, found, tmp_path, monkeypatch):
    put(tmp_path, "a/1.jpg", "a/deep/2.jpg", "a/x.txt", "b.jpg", "a/._1.jpg", "a/.hidden/1.jpg")
    put(tmp_path, "@eaDir/1.jpg", ".hidden/1.jpg", ".elsewhere/1.jpg")
    (tmp_path / "c").symlink_to(".elsewhere")
    (tmp_path / ".elsewhere/loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert matching(pattern) == found
    absolute = [os.path.join(tmp_path, path).rstrip("/") for path in found]
    assert matching(f"{tmp_path}/{pattern}") == absolute


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    put(tmp_path, "a/1.jpg")
    real = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for listing in (lambda: list(files_below(str(tmp_path))), lambda: matching(f"{tmp_path}/**/*")):
        with pytest.raises(PermissionError):
            listing()


def test_it_needs_no_tensorflow():
    code = (
        "import sys, cait_finetune.data.image_files.listing; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
