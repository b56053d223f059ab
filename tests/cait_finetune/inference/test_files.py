"""Files, folders and globs."""

from pathlib import Path

import pytest

from cait_finetune.errors import UserError
from cait_finetune.inference.files import find_images


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.JPG", "b/deep/3.webp", "b/notes.txt", "a.png", "[1].png", "c.dat"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "link.png").symlink_to("a.png")


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (["a.png"], ["a.png"]),
        (["b"], ["b/2.JPG", "b/deep/3.webp"]),
        (["b/"], ["b/2.JPG", "b/deep/3.webp"]),
        (["*.png"], ["[1].png", "a.png"]),  # and link.png is a.png
        (["**/*.webp"], ["b/deep/3.webp"]),
        (["c.dat"], ["c.dat"]),  # of what is named, the ending does not matter
        (["[1].png"], ["[1].png"]),  # as a glob it would be 1.png
        (["a.png", "b", "*.png"], ["a.png", "b/2.JPG", "b/deep/3.webp", "[1].png"]),
        (["[bc]*"], ["b/2.JPG", "b/deep/3.webp"]),  # a folder is searched; c.dat is left out
        (["b/**"], ["b/2.JPG", "b/deep/3.webp"]),
        (["./b/../a.png", "a.png", "link.png"], ["b/../a.png"]),  # one file by several names
    ],
)
def test_what_is_found(folder, images, found):
    assert find_images(images) == [Path(name) for name in found]


@pytest.mark.parametrize(
    ("images", "got"), [(["a.png", "*.gif"], r"\*.gif"), ([""], "nothing"), ([], r"\[\]")]
)
def test_what_is_not_there_is_named(folder, images, got):
    with pytest.raises(UserError, match=rf"images: got {got}, expected"):
        find_images(images)


def test_a_folder_without_images(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="images: got empty, expected a file, a glob, or a folder"):
        find_images(["empty"])
