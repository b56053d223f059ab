"""Find images from files, folders and globs."""

import os
from pathlib import Path

import pytest

from cait_finetune.data.image_files.listing import LeftOut
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
        (["*.png"], ["[1].png", "a.png", "link.png"]),  # a link is an image of its own
        (["**/*.webp"], ["b/deep/3.webp"]),
        (["c.dat"], ["c.dat"]),  # a named file may have any suffix
        (["[1].png"], ["[1].png"]),  # as a glob it would match 1.png
        (["a.png", "b", "*.png"], ["a.png", "b/2.JPG", "b/deep/3.webp", "[1].png", "link.png"]),
        (["[bc]*"], ["b/2.JPG", "b/deep/3.webp"]),  # the folder is searched, c.dat skipped
        (["b/**"], ["b/2.JPG", "b/deep/3.webp"]),
        (["./b/../a.png", "*.png"], ["b/../a.png", "[1].png", "link.png"]),  # one file, two paths
        (["a.png", "b", "a.png"], ["a.png", "b/2.JPG", "b/deep/3.webp", "a.png"]),  # named twice
    ],
)
def test_find_images_accepts_files_folders_and_globs(folder, images, found):
    assert find_images(images) == [Path(name) for name in found]


@pytest.mark.parametrize(
    ("images", "notes"),
    [
        (["b"], ["files  1 that are not images were left out: .txt"]),
        (["b", "b/*", "*"], ["files  2 that are not images were left out: .txt, .dat"]),
        (["b/*.JPG", "c.dat"], []),
    ],
)
def test_files_that_are_left_out_are_counted(folder, images, notes):
    left_out = LeftOut()
    find_images(images, left_out)
    assert left_out.notes() == notes


def test_a_folder_and_globs_of_it_agree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = ["p/1.jpg", "p/a/2.jpg", "p/a/b/3.jpg", "other/4.jpg"]
    litter = ["p/._1.jpg", "p/.ipynb_checkpoints/1.jpg", "p/@eaDir/1.jpg", "p/a/#recycle/1.jpg"]
    for name in images + litter:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "p" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "loop").symlink_to(tmp_path / "p")
    found = [Path(f"p/{name}") for name in ("1.jpg", "a/2.jpg", "a/b/3.jpg", "link/4.jpg")]
    for images in ("p", "p/", "p/*", "p/**", "p/**/*", "p/**/*.jpg", str(tmp_path / "p" / "*")):
        assert [
            file.relative_to(tmp_path) for file in map(Path.absolute, find_images([images]))
        ] == found
    for name in litter:  # a name without a glob is always used
        assert find_images([name]) == [Path(name)]
    assert find_images(["p/@eaDir"]) == [Path("p/@eaDir/1.jpg")]


def test_a_folder_whose_name_looks_like_a_glob(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos [2024]/a.jpg", "photos 2/b.jpg", "photos [2024]/[x]/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for images in ("photos [2024]/*.jpg", f"{tmp_path}/photos [2024]/*.jpg"):
        assert [file.name for file in find_images([images])] == ["a.jpg"]
    assert [file.name for file in find_images(["photos [2024]/[x]/*"])] == ["c.jpg"]
    assert [file.name for file in find_images(["photos [0-9]/*.jpg"])] == ["b.jpg"]


def test_a_folder_that_may_not_be_read(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"images: got b, .* \(b: Permission denied\)"):
        find_images(["b"])


def test_a_broken_link_is_reported_with_the_others(tmp_path):
    (tmp_path / "link.png").symlink_to("nowhere.png")
    assert find_images([str(tmp_path)]) == [tmp_path / "link.png"]


@pytest.mark.parametrize(
    ("images", "got"),
    [(["a.png", "*.gif"], r"\*.gif, which matches no image"), ([""], "nothing"), ([], r"\[\]")],
)
def test_the_error_names_a_pattern_without_images(folder, images, got):
    with pytest.raises(UserError, match=rf"images: got {got}, expected"):
        find_images(images)


def test_a_misspelt_folder_is_named(folder, tmp_path):
    (tmp_path / "photos").mkdir()
    for images in ("photo/*.jpg", "photo/a/1.jpg"):
        with pytest.raises(
            UserError, match=r"but photo does not exist \(did you mean photos\), exp"
        ):
            find_images([images])


def test_an_address_and_a_misspelt_file(folder, tmp_path):
    (tmp_path / "photo_12.jpg").touch()
    with pytest.raises(
        UserError, match=r"photo_11\.jpg, which does not exist \(did you mean photo_12"
    ):
        find_images([str(tmp_path / "photo_11.jpg")])
    with pytest.raises(UserError, match="an address: download the image first"):
        find_images(["https://example.org/a.jpg"])


def test_a_folder_without_images(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="images: got empty, which has no image, expected a file"):
        find_images(["empty"])
