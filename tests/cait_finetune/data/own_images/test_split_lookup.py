"""Which images a split file knows under another path, by their sizes and names."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.config import SplitsConfig
from cait_finetune.data.own_images import storage
from cait_finetune.data.own_images.renamed import find_by_size, find_renamed, renamed_folders
from cait_finetune.data.own_images.split_file import kept_division
from cait_finetune.errors import UserError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
#: An image's path and bytes. In each folder the same names; all of another size.
IMAGES = {
    f"{name}/{number:02}.jpg": 1000 * first + number
    for first, name in enumerate(("ant", "bee", "cow"), 1)
    for number in range(20)
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cait_splits.csv"


def divide(place, images, sizes=True, **config):
    """The split of each size, which is an image's only sure sign here; and the words."""
    paths = sorted(images)
    labels = np.unique([path.split("/")[0] for path in paths], return_inverse=True)[1]
    numbers = [images[path] for path in paths]
    kept = kept_division(
        paths, labels, SHARES, SplitsConfig(**config), str(place), numbers if sizes else None
    )
    return dict(zip(numbers, kept.roles, strict=True)), kept.words


def renamed(**folders):
    return {f"{folders.get(path[:3], path[:3])}/{path[4:]}": size for path, size in IMAGES.items()}


CHANGES = {
    "a class": renamed(ant="zebra"),
    "all classes": renamed(ant="zebra", bee="yak", cow="ox"),
    "two changed places": renamed(ant="bee", bee="ant"),
    "one after the other": renamed(ant="bee", bee="cow", cow="dog"),
    "a folder more": {path.replace("/", "/deep/"): size for path, size in IMAGES.items()},
    "a folder above": {f"data/{path}": size for path, size in IMAGES.items()},
    "files by class": {f"{path[:3]}/{path[:3]} {path[4:]}": size for path, size in IMAGES.items()},
    "merged": {path.replace("ant/", "bee/a"): size for path, size in IMAGES.items()},
    "numbered anew": {
        f"{path[:3]}/{number % 19:02}.jpg": size
        for number, (path, size) in enumerate(
            (path, size) for path, size in IMAGES.items() if path[4:] != "03.jpg"
        )
    },
}


@pytest.mark.parametrize("case", CHANGES)
def test_nobody_moves_whatever_is_renamed(case, place, warnings_shown):
    roles, _ = divide(place, IMAGES)
    assert place.read_text().splitlines()[1:3] == [
        "path,split,bytes",
        f"ant/00.jpg,{roles[1000]},1000",
    ]
    after, words = divide(place, CHANGES[case])
    assert after == {size: roles[size] for size in after}
    assert "under another path keep their split (" in words
    assert divide(place, CHANGES[case]) == (after, words.partition(",")[0])  # and it is written
    assert warnings_shown() == []


def test_folders_that_changed_places_whose_images_have_partly_the_same_size(place, warnings_shown):
    images = {path: size % 1000 if size % 5 == 0 else size for path, size in IMAGES.items()}
    pairs = {path: f"{path}!" for path in images}  # tells an image, unlike its size
    roles = roles_of(place, images, pairs)
    for swap in ({"ant": "bee", "bee": "ant"}, {"ant": "bee", "bee": "cow", "cow": "dog"}):
        moved = {f"{swap.get(path[:3], path[:3])}/{path[4:]}": path for path in images}
        images = {new: images[path] for new, path in moved.items()}
        pairs = {new: pairs[path] for new, path in moved.items()}
        assert roles_of(place, images, pairs) == roles
    assert warnings_shown() == []


def roles_of(place, images, names):
    paths = sorted(images)
    labels = np.unique([path.split("/")[0] for path in paths], return_inverse=True)[1]
    sizes = [images[path] for path in paths]
    roles = kept_division(paths, labels, SHARES, SplitsConfig(), str(place), sizes).roles
    return {names[path]: role for path, role in zip(paths, roles, strict=True)}


def test_renamed_and_added(place, warnings_shown):
    roles, _ = divide(place, IMAGES)
    more = {
        f"{name}/{n:02}.jpg": 9000 + 100 * len(name) + n
        for name in ("wasp", "fly")
        for n in range(20)
    }
    after, words = divide(place, renamed(ant="zebra") | more)
    assert {size: after[size] for size in roles} == roles
    assert warnings_shown() == []
    assert "(ant → zebra" in words


def test_images_encoded_anew_stay_where_they_are(place, warnings_shown):
    roles, _ = divide(place, IMAGES)
    rng = np.random.default_rng(0)
    sizes = rng.permutation([*IMAGES.values(), *range(5000, 5000 + 4 * len(IMAGES))])
    paths = sorted(IMAGES)
    other = dict(zip(paths, sizes.tolist(), strict=False))
    assert set(other.values()) & set(IMAGES.values())  # by chance
    after, words = divide(place, other)
    assert [after[other[path]] for path in paths] == [roles[IMAGES[path]] for path in paths]
    assert words == f"kept in {place}"
    edited = {**other, "ant/05.jpg": 77}
    assert divide(place, edited)[1] == f"kept in {place}"
    assert "ant/05.jpg" in place.read_text()
    assert ",77\n" in place.read_text()
    assert warnings_shown() == []


def test_files_that_changed_numbers_and_have_the_same_size(place, warnings_shown):
    roles, _ = divide(place, IMAGES)
    place.unlink()
    ants = [path for path in IMAGES if path.startswith("ant")]
    tested = next(path for path in ants if roles[IMAGES[path]] == "test")
    trained = next(
        path
        for path in ants
        if roles[IMAGES[path]] == "train" and int(path[4:6]) + int(tested[4:6]) != 19
    )
    images = IMAGES | {tested: 500, trained: 500}
    divide(place, images)
    reverse = images | {path: images[ants[-1 - number]] for number, path in enumerate(ants)}
    divide(place, reverse)
    (warning,) = warnings_shown()
    assert warning.startswith(
        f"{place}: files have changed places, and of 2 files the size does not tell which image it was"
    )


def test_sizes_are_added_to_a_file_without_them_where_it_can_be_written(place, monkeypatch):
    roles, words = divide(place, IMAGES, sizes=False)
    assert "bytes" not in place.read_text()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "write", lambda *_: (_ for _ in ()).throw(OSError(30, "read only")))
        for options in ({}, {"file": str(place)}):
            assert divide(place, IMAGES, **options) == (roles, words)
        with pytest.raises(UserError, match="expected a file that can be written"):
            divide(place, IMAGES | {"ant/x.jpg": 5}, file=str(place))
    assert divide(place, IMAGES) == (roles, words)
    assert place.read_text().count("\n") == place.read_text().count(",") // 2 + 1
    text = place.read_text()
    assert divide(place, IMAGES, sizes=False) == (roles, words)  # without a look at the files
    assert place.read_text() == text


def test_the_later_one_of_file_and_cache_decides(place, monkeypatch):
    roles, _ = divide(place, IMAGES)
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
    assert {size: first[size] for size in roles} == roles


def of_split(count, tested, name="ant"):
    return {
        f"{name}/{number:02}.jpg": "test" if number == tested else "train"
        for number in range(count)
    }


def other(paths, **folders):
    for old, new in folders.items():
        paths = [path.replace(f"{old}/", f"{new}/") for path in paths]
    return paths


def test_names_alone_tell_a_folder():
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


def test_sizes_tell_what_they_can():
    gone = {"a/1": "train", "a/2": "test", "a/3": "train", "a/4": "train"}
    was = {"a/1": 5, "a/2": 6, "a/3": 7, "a/4": 7}
    now = {"b/x": 6, "b/y": 7, "b/z": 7, "b/1": 9}
    assert find_by_size(gone, now, was, now, False) == {"b/x": "a/2", "b/y": "a/3", "b/z": "a/4"}
    assert find_by_size(gone, now, was, now, True) == {}
    assert find_by_size(gone, ["b/1"], was, {"b/1": 5}, True) == {"b/1": "a/1"}
    both = {"a/1": "train", "a/2": "test"}
    assert find_by_size(both, ["b/1"], {"a/1": 5, "a/2": 5}, {"b/1": 5}, False) == {}
