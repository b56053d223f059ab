"""What runs with equal settings do not share: images and initial weights."""

from __future__ import annotations

import json

import pytest

from cait_finetune.runs.leaderboard import read_entry
from cait_finetune.runs.unlike import unlike
from tests.cait_finetune.runs.test_leaderboard import write_run


def said(entries, root):
    """Return the lines, with directories relative to `root`."""
    return [line.replace(f"{root}/", "") for line in unlike(entries)]


def test_runs_on_different_test_images_are_reported(tmp_path):
    entries = []
    for name, of_test in (("a", "1"), ("b", "2"), ("c", None), ("d", "2"), ("e", "3")):
        run = write_run(tmp_path / name, 0.5)
        result = json.loads((run / "result.json").read_text())
        if of_test:
            prints = {"validation": {"sha256": "0"}, "test": {"sha256": of_test}}
            (run / "result.json").write_text(json.dumps({**result, "data": {"splits": prints}}))
        entries.append(read_entry(run))
    assert said(entries, tmp_path) == ["images  a, b and e were scored on different test images"]
    assert said(entries[:2], tmp_path) == ["images  a and b were scored on different test images"]
    assert unlike([entries[0], entries[2]]) == []


def test_contents_that_nobody_looked_at(tmp_path):
    entries = []
    for name, content in (("a", "5"), ("b", ""), ("c", "5")):
        run = write_run(tmp_path / name, 0.5)
        result = json.loads((run / "result.json").read_text())
        prints = {
            split: {"sha256": "0", "content_sha256": content} for split in ("validation", "test")
        }
        (run / "result.json").write_text(json.dumps({**result, "data": {"splits": prints}}))
        entries.append(read_entry(run))
    assert "contents were not compared" in unlike(entries)[0]
    assert unlike([entries[0], entries[2]]) == []


def entry_on(directory, train="0", test_examples=21, start="5", **settings):
    """Return a run with the hash of its training images, and the checksum of its start weights."""
    run = write_run(directory, 0.5, **settings)
    result = json.loads((run / "result.json").read_text())
    splits = {
        split: {"sha256": "0", "content_sha256": "0"} for split in ("train", "validation", "test")
    }
    splits["train"]["content_sha256"] = train
    result |= {"data": {"splits": splits}, "test_examples": test_examples}
    (run / "result.json").write_text(json.dumps(result))
    (run / "identity.json").write_text(json.dumps({"weights": {"sha256": start}}))
    return read_entry(run)


@pytest.mark.parametrize(
    ("other", "lines"),
    [
        ({}, []),
        ({"test_examples": 16}, ["images  the runs were scored on 16 and 21 of the test images"]),
        ({"train": "1"},
         ["images  one and two were trained on different images under the same settings"]),
        ({"start": "6"},
         ["weights  one and two started from different weights under model.weights=start.pth"]),
        ({"start": "6", "model__weights": "other.pth"}, []),
        ({"train": "1", "seed": 1},  # a share of 1 draws nothing
         ["images  one and two were trained on different images under the same settings"]),
        ({"train": "1", "dataset__data_dir": "/moved"},
         ["images  one and two were trained on different images from another dataset.data_dir"]),
        ({"train": "1", "dataset__name": "other"}, []),
        ({"train": "1", "dataset__columns.label": "kind"}, []),
    ],
)  # fmt: skip
def test_differences_under_equal_settings_are_reported(tmp_path, other, lines):
    known = {"model__weights": "start.pth", "dataset__train_share": 1.0, "seed": 0}
    one = entry_on(tmp_path / "one", **known)
    two = entry_on(tmp_path / "two", **{**known, **other})
    assert said([one, two], tmp_path) == lines


@pytest.mark.parametrize(
    "key",
    ["seed", "dataset__cache", "dataset__prefetch", "dataset__sampling", "dataset__shuffle_buffer",
     "dataset__allow_flip", "dataset__parallel_calls", "dataset__on_corrupt", "dataset__upright"],
)  # fmt: skip
def test_keys_that_choose_no_images_explain_no_other_images(tmp_path, key):
    one, two = (entry_on(tmp_path / train, train=train, **{key: train}) for train in "01")
    words = "images  0 and 1 were trained on different images under the same settings"
    assert said([one, two], tmp_path) == [words]


def test_a_run_that_accepted_changed_images_is_reported(tmp_path):
    run = entry_on(tmp_path / "run").directory
    result = json.loads((run / "result.json").read_text())
    result["data"]["accepted_changes"] = ["export: 1 image gone (b)", "resume: 1 image new (a)"]
    (run / "result.json").write_text(json.dumps(result))
    assert said([read_entry(run)], tmp_path) == [
        "images  run was resumed although its images had changed: 1 image new (a)"
    ]


def test_folds_of_different_seeds_overlap(tmp_path):
    for number in range(2):
        folds = {"dataset__folds": 2, "dataset__fold": number, "dataset__seed": number}
        write_run(tmp_path / str(number), 0.5, **folds)
        write_run(tmp_path / "same" / str(number), 0.5, **{**folds, "dataset__seed": 0})
    said = (
        "images  the folds were drawn by different seeds (0, 1), so they overlap: set dataset.seed"
    )
    assert unlike([read_entry(tmp_path / str(number)) for number in range(2)]) == [said]
    assert unlike([read_entry(tmp_path / "same" / str(number)) for number in range(2)]) == []


def test_malformed_identity_files_are_ignored(tmp_path):
    one, two = (entry_on(tmp_path / name) for name in ("one", "two"))
    (tmp_path / "two" / "identity.json").write_text("[1]")
    assert unlike([one, read_entry(two.directory)]) == []


@pytest.mark.parametrize("ended", ["callback", "train.max_hours"])
def test_a_run_that_ended_early_is_named(ended, tmp_path):
    entries = []
    for name in ("a", "b"):
        run = write_run(tmp_path / name, 0.5)
        result = json.loads((run / "result.json").read_text()) | {"steps": 7}
        if name == "b":
            result["stopped_by"] = ended
        (run / "result.json").write_text(json.dumps(result))
        entries.append(read_entry(run))
    assert said(entries, tmp_path) == [f"length  b was ended by {ended} after 7 steps"]
