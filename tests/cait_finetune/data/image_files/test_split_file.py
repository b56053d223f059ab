"""The split file, which records the split of each image."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from cait_finetune.config import SplitsConfig
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.split_file import check_split_file, saved_split
from cait_finetune.errors import UserError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def place(tmp_path):
    return tmp_path / "cait_splits.csv"


def names(count=20):
    return [f"{kind}/{number:02}, ä.jpg" for kind in "ab" for number in range(count)]


def divide(place, ids=None, shares=SHARES, **config):
    ids = names() if ids is None else ids
    labels = np.array([name[0] == "b" for name in ids], int)
    division = saved_split(ids, labels, shares, SplitsConfig(**config), str(place))
    return dict(zip(ids, division.splits, strict=True)), division.words


def test_the_first_run_writes_the_split_file_and_later_runs_reuse_it(place):
    splits, words = divide(place)
    assert words == f"kept in {place}"
    lines = place.read_text().splitlines()
    assert lines[0].startswith("# seed 0 shares train=0.8 validation=0.1 test=0.1; it stays")
    assert lines[1] == "path,split"
    assert lines[2] == f'"a/00, ä.jpg",{splits["a/00, ä.jpg"]}'
    before = place.stat().st_mtime_ns
    assert divide(place) == (splits, words)
    assert place.stat().st_mtime_ns == before
    values = list(splits.values())
    assert [values.count(split) for split in SHARES] == [32, 4, 4]


def test_an_edited_split_file_decides_the_split(place):
    splits, _ = divide(place)
    name = next(name for name, split in splits.items() if split == "train")
    text = place.read_text().replace(f'"{name}",train', f'"{name}",test')
    place.write_text("\ufeff" + text.replace("\n", "\r\n"))  # a spreadsheet saves CSV like this
    assert divide(place)[0] == {**splits, name: "test"}


def test_new_images_are_divided_and_nobody_moves(place):
    splits, _ = divide(place)
    kept = [name for name in names() if name not in ("a/03, ä.jpg", "b/04, ä.jpg")]
    larger = sorted([*kept, *(f"a/{number}.jpg" for number in range(100, 120))])
    after, words = divide(place, larger)
    assert words == f"kept in {place}, 20 new, 2 gone"
    assert {name: after[name] for name in kept} == {name: splits[name] for name in kept}
    of_a = [split for name, split in after.items() if name[0] == "a"]
    assert [of_a.count(split) for split in SHARES] in ([31, 4, 4], [32, 4, 3], [32, 3, 4])
    assert divide(place, larger) == (after, f"kept in {place}")


def test_another_seed_or_shares_are_refused(place):
    splits, words = divide(place)
    text = place.read_text()
    other = {"train": 0.6, "validation": 0.2, "test": 0.2}
    for key, value, options, was in (
        ("seed", "1", {"seed": 1}, "0"),
        ("shares", "[0.6, 0.2, 0.2]", {}, "train=0.8 validation=0.1 test=0.1"),
    ):
        shares = {"shares": other} if key == "shares" else {}
        config = SplitsConfig(shares=[0.6, 0.2, 0.2]) if shares else SplitsConfig(**options)
        labels = np.array([name[0] == "b" for name in names()], int)
        with pytest.raises(UserError) as error:
            saved_split(names(), labels, other if shares else SHARES, config, str(place))
        assert str(error.value) == (
            f"dataset.splits.{key}: got {value}, expected {was}, with which {place} was divided\n"
            "  Remove that file to divide the images anew, leave the key out to keep the division, or "
            "set dataset.splits.file=OTHER.csv for a further one"
        )
    assert place.read_text() == text
    assert divide(place, seed=0, file=str(place)) == (splits, words)
    place.unlink()
    assert divide(place, seed=1)[0] != splits


def test_keys_that_are_left_out_follow_the_file(place):
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    splits, words = divide(place, shares=shares, seed=3)
    assert divide(place) == (splits, words)
    labels = np.array([name[0] == "b" for name in names()], int)
    kept = saved_split(names(), labels, SHARES, SplitsConfig(), str(place))
    assert kept.shares == shares


def test_names_may_begin_with_a_number_sign(place):
    ids = [f"#{kind} fan/#{number:02}.jpg" for kind in "12" for number in range(20)]
    ids += [f"#{number}.jpg" for number in range(10)]
    labels = np.array([name[1] == "2" for name in ids], int)
    first = saved_split(ids, labels, SHARES, SplitsConfig(), str(place)).splits
    more = [*ids, *(f"#1 fan/new{number}.jpg" for number in range(30))]
    labels = np.array([name[1] == "2" for name in more], int)
    second = saved_split(more, labels, SHARES, SplitsConfig(), str(place))
    assert second.splits[: len(ids)] == first
    assert second.words == f"kept in {place}, 30 new"


def test_comments_may_stand_anywhere(place):
    splits, words = divide(place)
    lines = place.read_text().splitlines(keepends=True)
    place.write_text("".join(["# mine, too\n", *lines[:3], "# a remark\n", *lines[3:]]))
    assert divide(place) == (splits, words)


def test_images_that_come_back_are_where_they_were(place):
    splits, _ = divide(place)
    kept = [name for name in names() if splits[name] == "train"]
    assert divide(place, kept)[1] == f"kept in {place}, 8 gone"
    assert divide(place, kept)[1] == f"kept in {place}"  # the second call is silent
    assert divide(place)[0] == splits


def test_a_renamed_folder_keeps_its_split(place, warnings_shown):
    splits, _ = divide(place)
    renamed = [name.replace("a/", "zebra/") for name in names()]
    after, words = divide(place, [*renamed, "zebra/new.jpg"])
    assert [after[name] for name in renamed] == list(splits.values())
    changes = "1 new, 20 under another path keep their split (a → zebra)"
    assert words == f"kept in {place}, {changes}"
    assert divide(place, [*renamed, "zebra/new.jpg"]) == (after, f"kept in {place}")
    assert warnings_shown() == []


def test_ambiguous_renames_give_a_warning_and_keep_their_rows(place, warnings_shown):
    splits, _ = divide(place)
    text = place.read_text()
    renamed = [f"new {name}" for name in names()]  # both folders have the same file names
    held_out = {name[2:] for name, split in splits.items() if split != "train"}
    assert len(held_out) > 4
    for _ in range(2):
        after, words = divide(place, renamed)
        assert words.startswith(f"kept in {place}, {2 * len(held_out)} new, ")
        (warning,) = warnings_shown()
        assert warning.startswith(
            f"{place}: {2 * len(held_out)} new images have the names of {2 * len(held_out)} images "
            "that are gone (4 of test, "
        )
        kept = place.read_text().splitlines()
        for name, split in splits.items():
            present = name if name[2:] in held_out else f"new {name}"
            assert f"{present},{split}" in [row.replace('"', "") for row in kept]
        assert len(kept) == len(text.splitlines())
    sure = [name for name in names() if name[2:] not in held_out]
    assert {after[f"new {name}"] for name in sure} == {"train"}
    place.write_text(
        text.replace('"a/', '"new a/').replace('"b/', '"new b/')
    )  # as the user corrects it
    after, words = divide(place, renamed)
    assert list(after.values()) == list(splits.values())
    assert words == f"kept in {place}"
    assert warnings_shown() == []


def test_other_file_names_are_warned_of(place, warnings_shown):
    splits, _ = divide(place)
    tested = next(name for name, split in splits.items() if split == "test")
    divide(place, [*(name for name in names() if name != tested), "a/other.jpg"])
    assert warnings_shown() == [
        f"{place}: 1 image is gone (1 of test) while 1 image is new. A new image that is a gone image "
        "under another name may be in train now: write its new path into that file"
    ]


def test_without_its_first_line_it_is_as_good(place, warnings_shown):
    splits, _ = divide(place)
    place.write_text("".join(place.read_text().splitlines(keepends=True)[1:]))
    assert divide(place, seed=1)[0] == splits
    assert not warnings_shown()


@pytest.mark.parametrize(
    ("text", "row", "message"),
    [
        ("", 1, "nothing, expected the header path,split"),
        ("nonsense\n", 1, "'nonsense', expected the header path,split"),
        ("# seed 0\npath;split\n", 2, "'path;split', expected the header path,split"),
        ("path,split\na,train\nb\n", 3, "'b', expected a path and its split"),
        ("path,split\n\na,trian\n", 3, "'trian', expected train, validation or test\n  did you mean train?"),
        ("path,split\na,train\na,test\n", 3, "a in test, and in train above, expected one split"),
        ('path,split\na,train\n"b,test\n', 3, "unexpected end of data, expected a path and its split"),
    ],
)  # fmt: skip
def test_a_damaged_file(text, row, message, place):
    place.write_text(text)
    with pytest.raises(UserError) as error:
        divide(place)
    assert str(error.value).startswith(f"dataset.splits.file: got {place}, row {row}: {message}")
    assert "remove the file to divide the images anew" in str(error.value)
    assert place.read_text() == text


def test_a_file_that_is_no_text(place):
    place.write_bytes(b"path,split\n\xff\xfe,train\n")
    with pytest.raises(UserError, match=r"a file that can be read \(it is not UTF-8\)"):
        divide(place)


def test_a_file_of_other_splits(place):
    divide(place, shares={"train": 0.9, "validation": 0.1})
    with pytest.raises(
        UserError, match=r"which divides images into train and validation, expected"
    ):
        divide(place)


def test_a_configured_place(place, tmp_path):
    chosen = tmp_path / "mine.csv"
    assert divide(place, file=str(chosen))[1] == f"kept in {chosen}"
    assert chosen.exists()
    assert not place.exists()
    with pytest.raises(
        UserError, match=r"^dataset\.splits\.file: got .*, expected a file that can be w"
    ):
        divide(place, file=str(tmp_path / "nowhere" / "mine.csv"))
    with pytest.raises(
        UserError, match=r"^dataset\.splits\.file: got s3://b/x.csv, expected a path"
    ):
        divide(place, file="s3://b/x.csv")


def test_where_nothing_may_be_written_it_is_kept_in_the_cache(place, cache, monkeypatch):
    write = storage.write

    def refuse(path, text):
        if path == str(place):
            raise PermissionError(13, "Permission denied")
        write(path, text)

    monkeypatch.setattr(storage, "write", refuse)
    splits, words = divide(place)
    (kept,) = (cache / "cait_finetune" / "splits").iterdir()
    assert words == f"kept in {kept}"
    assert divide(place) == (splits, words)  # the file in the cache decides
    monkeypatch.setattr(os, "makedirs", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    kept.unlink()
    assert divide(place) == (splits, "kept nowhere, drawn anew each time by the same seed")


def test_too_few_images_to_divide_raise_an_error(place):
    with pytest.raises(
        UserError, match=r"^dataset\.data_dir: got 2 images of 2 classes to divide, exp"
    ):
        divide(place, ["a/1", "b/1"])
    assert not place.exists()


def test_one_image_of_a_class_is_to_train_on(place):
    splits, _ = divide(place, ["a/1", *(f"b/{number}" for number in range(9))])
    assert splits["a/1"] == "train"


def first_run(folder, number):
    ids = [f"{one}.png" for one in range(40)]
    code = f"""
from cait_finetune.config import SplitsConfig
from cait_finetune.data.image_files.split_file import check_split_file, saved_split
import numpy as np
found = saved_split({ids}, np.arange(40) % 2, {{"train": .8, "validation": .1, "test": .1}},
                      SplitsConfig(seed={number}), "{folder}/cait_splits.csv")
print(found.splits)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_one_of_two_simultaneous_first_runs_divides(tmp_path):
    """Two runs start at once with different seeds: one divides, and the other is refused."""
    runs = [first_run(tmp_path, number) for number in (0, 1)]
    said = [run.communicate(timeout=120) for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1], said
    assert sum("with which" in err and "was divided" in err for _, err in said) == 1


def test_the_split_file_of_a_run_that_is_gone_is_not_made_anew(place):
    """A run whose project moved names the old place."""
    check_split_file(SplitsConfig())
    with pytest.raises(UserError) as caught:
        check_split_file(SplitsConfig(file=str(place)))
    assert str(caught.value) == (
        f"dataset.splits.file: got {place}, expected the split file of the run, which exists\n"
        "  Add dataset.splits.file=FILE if you moved it"
    )
    divide(place)
    check_split_file(SplitsConfig(file=str(place)))
