"""The search for images that a split file has under another path, by content and name."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

from cait_finetune.config import SplitsConfig
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.renamed import find_by_content, find_renamed, renamed_folders
from cait_finetune.data.image_files.split_file import saved_split
from cait_finetune.errors import UserError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
#: Content hash of each path. All folders have the same file names; all contents differ.
IMAGES = {
    f"{name}/{number:02}.jpg": 1000 * first + number
    for first, name in enumerate(("ant", "bee", "cow"), 1)
    for number in range(20)
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cait_splits.csv"


def divide(place, images, hashes=True, **config):
    """Return the split of each content hash, and the message."""
    paths = sorted(images)
    labels = np.unique([path.split("/")[0] for path in paths], return_inverse=True)[1]
    numbers = [images[path] for path in paths]
    kept = saved_split(
        paths, labels, SHARES, SplitsConfig(**config), str(place), numbers if hashes else None
    )
    return dict(zip(numbers, kept.splits, strict=True)), kept.words


def renamed(**folders):
    return {
        f"{folders.get(path[:3], path[:3])}/{path[4:]}": content for path, content in IMAGES.items()
    }


CHANGES = {
    "a class": renamed(ant="zebra"),
    "all classes": renamed(ant="zebra", bee="yak", cow="ox"),
    "two changed places": renamed(ant="bee", bee="ant"),
    "one after the other": renamed(ant="bee", bee="cow", cow="dog"),
    "a folder more": {path.replace("/", "/deep/"): content for path, content in IMAGES.items()},
    "a folder above": {f"data/{path}": content for path, content in IMAGES.items()},
    "files by class": {
        f"{path[:3]}/{path[:3]} {path[4:]}": content for path, content in IMAGES.items()
    },
    "merged": {path.replace("ant/", "bee/a"): content for path, content in IMAGES.items()},
    "numbered anew": {
        f"{path[:3]}/{number % 19:02}.jpg": content
        for number, (path, content) in enumerate(
            (path, content) for path, content in IMAGES.items() if path[4:] != "03.jpg"
        )
    },
}


@pytest.mark.parametrize("case", CHANGES)
def test_no_image_changes_its_split_after_renames(case, place, warnings_shown):
    splits, _ = divide(place, IMAGES)
    assert place.read_text().splitlines()[1:3] == [
        "path,split,content",
        f"ant/00.jpg,{splits[1000]},00000000000003e8",
    ]
    after, words = divide(place, CHANGES[case])
    assert after == {size: splits[size] for size in after}
    assert "under another path keep their split (" in words
    # The file has the new paths.
    assert divide(place, CHANGES[case]) == (after, words.partition(",")[0])
    assert warnings_shown() == []


def test_file_names_match_images_with_equal_content_in_several_splits(place, warnings_shown):
    plain = dict.fromkeys(IMAGES, 7)
    splits = splits_of(place, plain)
    zebras = {path.replace("ant/", "zebra/"): 7 for path in plain}
    assert splits_of(place, zebras) == {
        path.replace("ant/", "zebra/"): split for path, split in splits.items()
    }
    assert warnings_shown() == []


def splits_of(place, images):
    paths = sorted(images)
    labels = np.unique([path.split("/")[0] for path in paths], return_inverse=True)[1]
    hashes = [images[path] for path in paths]
    kept = saved_split(paths, labels, SHARES, SplitsConfig(), str(place), hashes)
    return dict(zip(paths, kept.splits, strict=True))


def test_a_copy_is_in_the_split_of_its_original(place):
    splits = splits_of(place, IMAGES)
    copies = {path.replace(".jpg", " (copy).jpg"): content for path, content in IMAGES.items()}
    after = splits_of(place, IMAGES | copies)
    assert {path: after[path] for path in splits} == splits
    for path in copies:
        assert after[path] == splits[path.replace(" (copy)", "")]


def test_an_image_that_was_replaced_by_another_one_keeps_its_split(place):
    """The original image, under a new path, keeps its split too."""
    splits = splits_of(place, IMAGES)
    tested = next(path for path in splits if splits[path] == "test")
    trained = next(path for path in splits if splits[path] == "train")
    after = splits_of(place, IMAGES | {tested: 77, "ant/old.jpg": IMAGES[tested]})
    assert after == {**splits, "ant/old.jpg": "test"}
    place.unlink()
    splits_of(place, IMAGES)
    after = splits_of(place, IMAGES | {tested: IMAGES[trained]})
    assert after == {**splits, tested: "train"}, "it is a copy now"


@pytest.fixture
def tested(place):
    """Return the path of a test image, and the split of each path."""
    splits = splits_of(place, IMAGES)
    return next(path for path in splits if splits[path] == "test"), splits


MORE = {f"ant/more {number}.jpg": 7000 + number for number in range(20)}


def test_a_replaced_image_comes_back_under_another_path(place, tested):
    path, splits = tested
    replaced = IMAGES | {path: 77}
    splits_of(place, replaced)
    after = splits_of(place, replaced | MORE | {"bee/back.jpg": IMAGES[path]})
    assert after["bee/back.jpg"] == "test"
    assert {name: after[name] for name in splits} == splits
    assert "replaced" not in place.read_text()


def test_a_replaced_image_comes_back_under_its_path(place, tested):
    """A train image was moved over the test image."""
    path, splits = tested
    trained = next(name for name in splits if splits[name] == "train")
    over = {name: content for name, content in IMAGES.items() if name != trained}
    over[path] = IMAGES[trained]
    assert splits_of(place, over)[path] == "train"
    splits_of(place, over | MORE)
    assert splits_of(place, IMAGES | MORE)[path] == "test"


def test_another_image_under_a_gone_ones_name_does_not_take_its_place(place, tested):
    path, splits = tested
    others = {name: content for name, content in IMAGES.items() if name != path}
    newcomer = f"bee/x/{path[4:]}"
    splits_of(place, others | {newcomer: 88})
    splits_of(place, others | {newcomer: 88} | MORE)
    after = splits_of(place, IMAGES | {newcomer: 88} | MORE)
    assert {name: after[name] for name in splits} == splits


def test_an_image_is_moved_over_one_whose_content_is_unknown(place, tested):
    path, _ = tested
    unknown = {"ant/unknown.jpg": -1}
    splits_of(place, IMAGES | unknown)
    over = {name: content for name, content in IMAGES.items() if name != path}
    assert splits_of(place, over | {"ant/unknown.jpg": IMAGES[path]})["ant/unknown.jpg"] == "test"


def test_a_file_that_cannot_be_read_does_not_hide_where_its_image_went(place, tested):
    path, splits = tested
    trained = next(name for name in splits if splits[name] == "train")
    over = IMAGES | {trained: IMAGES[path], path: -1}
    assert splits_of(place, over)[trained] == "test"
    assert splits_of(place, over | {path: 99})[trained] == "test"


def test_new_images_beside_unclear_ones_are_written_down(place, warnings_shown):
    """Two folders have the same file names, but their test images have different names."""
    images = {f"{name}/{number}.jpg": -1 for name in ("ant", "bee") for number in range(20)}
    splits_of(place, images)
    renamed = {path.replace("ant", "yak").replace("bee", "fly"): -1 for path in images}
    more = {f"yak/new {number}.jpg": 100 + number for number in range(10)}
    after = splits_of(place, renamed | more)
    (warning,) = warnings_shown()
    assert "cannot be matched" in warning
    again = splits_of(place, renamed | more | {"fly/further.jpg": 200})
    assert {path: again[path] for path in more} == {path: after[path] for path in more}
    assert len(warnings_shown()) == 1  # until the user says which folder is which
    restored = splits_of(place, images | more)
    assert {path: restored[path] for path in more} == {path: after[path] for path in more}


@pytest.mark.parametrize("lines", [1, 30])
def test_a_truncated_split_file_is_refused(place, lines):
    divide(place, IMAGES)
    rows = place.read_text().splitlines(keepends=True)
    place.write_text("".join(rows[:-lines]))
    with pytest.raises(
        UserError, match=r"got .*: nothing, expected the last line, # end: rows are"
    ):
        divide(place, IMAGES)
    place.write_text("".join([*rows, "ant/by hand.jpg,test,\n"]))
    assert divide(place, IMAGES | {"ant/by hand.jpg": 5})[0][5] == "test"


@pytest.mark.parametrize("damage", ["00000000", "-00000000000003e8", "0x000000000003e8", "zzzz"])
def test_a_damaged_hash(place, damage):
    divide(place, IMAGES)
    place.write_text(place.read_text().replace("00000000000003e8", damage))
    with pytest.raises(UserError, match=r"row 3: '.*', expected a content hash of 16 digits"):
        divide(place, IMAGES)


def test_renamed_images_keep_their_split_beside_new_images(place, warnings_shown):
    splits, _ = divide(place, IMAGES)
    more = {
        f"{name}/{n:02}.jpg": 9000 + 100 * len(name) + n
        for name in ("wasp", "fly")
        for n in range(20)
    }
    after, words = divide(place, renamed(ant="zebra") | more)
    assert {size: after[size] for size in splits} == splits
    assert warnings_shown() == []
    assert "(ant → zebra" in words


def test_images_encoded_anew_stay_where_they_are(place, warnings_shown):
    splits, _ = divide(place, IMAGES)
    rng = np.random.default_rng(0)
    paths = sorted(IMAGES)
    other = dict(zip(paths, rng.permutation(range(5000, 5000 + len(IMAGES))).tolist(), strict=True))
    after, words = divide(place, other)
    assert [after[other[path]] for path in paths] == [splits[IMAGES[path]] for path in paths]
    assert words == f"kept in {place}"
    edited = {**other, "ant/05.jpg": 77}
    assert divide(place, edited)[1] == f"kept in {place}"
    assert "ant/05.jpg" in place.read_text()
    assert ",000000000000004d\n" in place.read_text()
    assert warnings_shown() == []


def test_content_hashes_are_added_to_a_file_without_them_where_it_can_be_written(
    place, monkeypatch
):
    splits, words = divide(place, IMAGES, hashes=False)
    assert "content" not in place.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write", lambda *_: (_ for _ in ()).throw(OSError(30, "read only")))
        for options in ({}, {"file": str(place)}):
            assert divide(place, IMAGES, **options) == (splits, words)
        with pytest.raises(UserError, match="expected a file that can be written"):
            divide(place, IMAGES | {"ant/x.jpg": 5}, file=str(place))
    assert divide(place, IMAGES) == (splits, words)
    assert place.read_text().count("\n") == place.read_text().count(",") // 2 + 2
    text = place.read_text()
    assert divide(place, IMAGES, hashes=False) == (splits, words)  # without reading the images
    assert place.read_text() == text


def test_the_later_one_of_file_and_cache_decides(place, monkeypatch):
    splits, _ = divide(place, IMAGES)
    write = storage.write

    def refuse(path, text):
        if path == str(place):
            raise PermissionError(13, "Permission denied")
        write(path, text)

    more = IMAGES | {f"ant/x{number}.jpg": 50 + number for number in range(30)}
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write", refuse)
        first, words = divide(place, more)
        assert "/cache/" in words
        again = more | {f"ant/y{number}.jpg": 150 + number for number in range(30)}
        second, _ = divide(place, again)
    assert {size: second[size] for size in first} == first
    assert {size: first[size] for size in splits} == splits


@pytest.fixture
def read_only(place, monkeypatch):
    """Refuse to write the split file beside the images."""
    write = storage.write

    def refuse(path, text):
        if path == str(place):
            raise PermissionError(13, "Permission denied")
        write(path, text)

    monkeypatch.setattr(storage, "write", refuse)


def test_a_file_that_is_delivered_later_decides_whatever_its_time(place, read_only):
    splits, words = divide(place, IMAGES)
    assert "/cache/" in words
    others = {"train": "test", "test": "train", "validation": "validation"}
    rows = [f"{path},{others[splits[content]]}" for path, content in IMAGES.items()]
    place.write_text("\n".join(["path,split", *rows]))
    os.utime(place, (1e9, 1e9))  # rsync -a keeps old times
    after, _ = divide(place, IMAGES)
    assert after == {content: others[split] for content, split in splits.items()}


def test_a_newer_mtime_of_the_split_file_keeps_the_rows_of_the_cache(place, read_only):
    splits, _ = divide(place, IMAGES)
    place.write_text("\n".join(["path,split", *(f"{p},{splits[c]}" for p, c in IMAGES.items())]))
    first, words = divide(place, IMAGES | MORE)
    assert "/cache/" in words
    place.chmod(0o444)
    os.utime(place)
    even_more = {f"bee/{path}": content + 100 for path, content in MORE.items()}
    second, _ = divide(place, IMAGES | MORE | even_more)
    assert {content: second[content] for content in first} == first


def test_hashes_of_a_file_that_cannot_be_written_are_kept_in_the_cache(place, read_only):
    splits, _ = divide(place, IMAGES)
    rows = [f"{path},{splits[content]}" for path, content in IMAGES.items()]
    place.write_text(
        "\n".join(["# seed 0 shares train=0.8 validation=0.1 test=0.1", "path,split", *rows])
    )
    assert divide(place, IMAGES)[0] == splits
    paths = [path for path in IMAGES if path.startswith("ant")]
    swapped = IMAGES | dict(zip(paths, (IMAGES[path] for path in paths[::-1]), strict=True))
    assert divide(place, swapped)[0] == splits


def of_split(count, tested, name="ant"):
    return {
        f"{name}/{number:02}.jpg": "test" if number == tested else "train"
        for number in range(count)
    }


def other(paths, **folders):
    for old, new in folders.items():
        paths = [path.replace(f"{old}/", f"{new}/") for path in paths]
    return paths


def test_file_names_alone_identify_a_renamed_folder():
    gone = of_split(5, 1)
    old, unclear = find_renamed(gone, other(gone, ant="zebra"))
    assert old == dict(zip(other(gone, ant="zebra"), gone, strict=True))
    assert unclear == []
    assert renamed_folders(old) == "ant → zebra"


def test_two_folders_with_other_numbers_of_images():
    gone = of_split(5, 1) | of_split(7, 2, "bee")
    new = other(gone, ant="zebra", bee="yak")
    old, unclear = find_renamed(gone, [*new, "yak/new.jpg", "cow/99.jpg"])
    assert old == dict(zip(new, gone, strict=True))
    assert unclear == []


def test_two_folders_that_look_alike():
    gone = of_split(5, 1) | of_split(5, 2, "bee")
    old, unclear = find_renamed(gone, other(gone, ant="zebra", bee="yak"))
    assert {path[-6:-4] for path in unclear} == {"01", "02"}
    assert {gone[path] for path in old.values()} == {"train"}


def test_a_table_with_other_roots_and_unicode():
    gone = {"/data/a/ant/1.jpg": "train", "/data/a/bee/1.jpg": "test", "caf\u00e9/2.jpg": "test"}
    new = ["a/ant/1.jpg", "./a/bee/1.jpg", "cafe\u0301/2.jpg"]
    assert find_renamed(gone, new) == (dict(zip(new, gone, strict=True)), [])


def test_a_new_image_of_the_same_name_is_not_trained_on():
    old, unclear = find_renamed({"ant/1.jpg": "test"}, ["zebra/1.jpg", "yak/1.jpg", "yak/2.jpg"])
    assert old == {"zebra/1.jpg": "ant/1.jpg", "yak/1.jpg": "ant/1.jpg"}
    assert unclear == []


def test_find_by_content_matches_renames_and_copies():
    known = {"a/1": "train", "a/2": "test", "a/3": "train", "a/4": "train", "a/5": "test"}
    was = {"a/1": 5, "a/2": 6, "a/3": 7, "a/4": 7, "a/5": 5}
    now = {"b/x": 6, "b/y": 7, "b/z": 7, "b/1": 9, "b/2": 5, "b/w": 7}
    renamed, copied = find_by_content(known, ["a/1", "a/2", "a/3", "a/4"], now, was, now)
    assert renamed == {"b/x": "a/2", "b/y": "a/3", "b/z": "a/4"}
    assert copied == {"b/w": "a/4"}
    assert find_by_content(known, [], ["b/x", "b/3"], was, now) == ({}, {"b/x": "a/2"})


def test_a_split_file_with_file_sizes_is_upgraded_to_content_hashes(place):
    splits, words = divide(place, IMAGES)
    text = place.read_text()
    place.write_text(re.sub(r",[0-9a-f]{16}\n", ",123\n", text.replace("content", "bytes")))
    assert divide(place, IMAGES) == (splits, words)
    assert place.read_text() == text
