"""Warnings about the same image in two splits or under two labels."""

from __future__ import annotations

import shutil

import pytest

from cait_finetune.data.targets import ANY_CLASSES
from tests.cait_finetune.data.made_images import folders, from_folder, from_table, table


@pytest.fixture
def root(tmp_path):
    for part in ("train", "val", "test"):
        folders(tmp_path / part, {"cat": 4, "dog": 4})
    return tmp_path


def copy(root, source, target):
    shutil.copy(root / source, root / target)


def test_a_copy_in_the_same_split_and_class_gives_no_warning(root, warnings_shown):
    copy(root, "train/cat/00.png", "train/cat/copy.png")
    from_folder(root)
    assert warnings_shown() == []


def test_one_image_of_two_classes_is_named(root, warnings_shown):
    copy(root, "train/cat/00.png", "train/dog/copy.png")
    from_folder(root)
    assert warnings_shown() == [
        "1 image is listed twice with two labels: train/cat/00.png (cat) = train/dog/copy.png (dog); "
        "remove the wrong one of each"
    ]


def test_images_of_several_labels(root, warnings_shown):
    copy(root, "train/cat/00.png", "train/copy.png")
    copy(root, "train/dog/00.png", "train/other.png")  # a copy with the same label
    rows = [
        f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.glob("train/*/*"))
    ]
    rows += ["train/copy.png,cat|dog", "train/other.png,dog", "val/cat/00.png,"]
    from_table(
        table(
            root / "list.csv", [f"{row},train" for row in rows] + _others(root), "path,label,split"
        ),
        target=ANY_CLASSES,
    )
    assert warnings_shown() == [
        "1 image is listed twice with two labels: train/cat/00.png (cat) = train/copy.png (cat, dog); "
        "remove the wrong one of each"
    ]


def _others(root):
    """Return the table rows of validation and test, without ``val/cat/00.png``."""
    parts = {"val": "validation", "test": "test"}
    return [
        f"{path.relative_to(root)},{path.parent.name},{parts[path.parts[-3]]}"
        for part in parts
        for path in sorted((root / part).glob("*/*"))
        if path != root / "val/cat/00.png"
    ]


def test_a_warning_names_an_image_in_two_splits(root, warnings_shown):
    copy(root, "train/cat/00.png", "test/dog/copy.png")
    for _ in range(2):
        from_folder(root)
        assert warnings_shown() == [
            "1 image is in two splits: train/cat/00.png (cat) = test/dog/copy.png (dog); the test "
            "accuracy will be too high"
        ]
    from_folder(root, check=False)
    assert warnings_shown() == []


def test_the_first_three_are_named_and_all_counted(root, warnings_shown):
    for number in range(4):
        copy(root, f"train/cat/{number:02}.png", f"val/cat/1{number}.png")
    copy(root, "val/dog/00.png", "test/dog/10.png")
    from_folder(root)
    assert warnings_shown() == [
        "5 images are in two splits: train/cat/00.png = val/cat/10.png, "
        "train/cat/01.png = val/cat/11.png, train/cat/02.png = val/cat/12.png, …; the validation and "
        "test accuracy will be too high"
    ]


def test_the_same_ends_are_not_the_same_file(root, warnings_shown):
    head = (root / "train/cat/00.png").read_bytes()
    for path, byte in (("train/cat/00.png", b"a"), ("test/cat/00.png", b"b")):
        (root / path).write_bytes(head + bytes(8192) + byte + bytes(8192))
    from_folder(root)
    assert warnings_shown() == []
