"""Find runs, read them, and find the keys in which they differ."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from cait_finetune.errors import UserError
from cait_finetune.runs.leaderboard import (
    chosen,
    differing,
    find_runs,
    judged_by,
    read_entry,
    runs_below,
    unlike,
)


def write_run(directory, score=None, command=None, metric="top1", **settings):
    """Write a run's directory as training leaves it. Without a score the run is interrupted."""
    (directory / "checkpoints").mkdir(parents=True)
    config = {"seed": 0, "traceback": False}
    for key, value in settings.items():
        group, _, leaf = key.partition("__")
        config.setdefault(group, {}).update({leaf: value}) if leaf else config.update({key: value})
    (directory / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    if command:
        (directory / "command.txt").write_text(f"python -m cait_finetune {command}\n")
    if score is not None:
        result = {"metric": metric, f"validation_{metric}": score, f"test_{metric}": score / 2,
                  "wall_seconds": 12.3}  # fmt: skip
        (directory / "result.json").write_text(json.dumps(result))
    return directory


def test_a_path_that_is_not_utf_8_is_refused(tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    write_run(Path(place), 0.5)
    with pytest.raises(UserError, match=r"^runs: got '.*caf\\udce9', expected a path in UTF-8"):
        find_runs([place])


def test_runs_are_found_below_and_through_patterns(tmp_path):
    for name in ("sweep/2", "sweep/10", "outputs/a/b/c"):
        write_run(tmp_path / name, 0.5)
    # W&B's files inside a run are not a run. Neither is a configuration alone.
    (tmp_path / "sweep/2/wandb/files/checkpoints").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").touch()
    assert [run.name for run in runs_below(tmp_path / "sweep")] == ["2", "10"]
    assert len(find_runs([str(tmp_path)])) == 3
    assert len(find_runs([f"{tmp_path}/sweep/*", f"{tmp_path}/sweep"])) == 2
    assert find_runs([f"{tmp_path}/sweep/2"]) == [tmp_path / "sweep/2"]


def test_a_run_whose_checkpoints_were_deleted_is_a_run(tmp_path):
    run = write_run(tmp_path / "run", 0.5)
    (run / "checkpoints").rmdir()
    assert runs_below(tmp_path) == [run]


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "nowhere, expected a directory that exists"), ("", "where there is no run")],
)
def test_where_there_is_nothing(tmp_path, path, message):
    with pytest.raises(UserError, match=f"runs: got .*{message}"):
        find_runs([str(tmp_path / path)])


def test_a_finished_run_is_read(tmp_path):
    entry = read_entry(write_run(tmp_path / "run", 0.5, "seed=3", optimizer__base_lr=1e-3))
    assert entry.settings == {"seed": 0, "traceback": False, "optimizer.base_lr": 1e-3}
    assert (entry.command, entry.missing) == ("python -m cait_finetune seed=3", "")
    assert entry.score == 0.5


def test_a_score_that_is_no_number_is_the_worst(tmp_path):
    assert read_entry(write_run(tmp_path / "run", math.nan)).score == -math.inf


def test_an_unfinished_run_says_how_far_it_came(tmp_path):
    run = write_run(tmp_path / "run", train__epochs=5)
    assert read_entry(run).missing == "no epoch finished, no result.json"
    epochs = [{"kind": "epoch", "epoch": n, "validation_top1": n / 10} for n in (2, 1, 2)]
    lines = [json.dumps(one) for one in ({"kind": "step", "step": 1}, *epochs)]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"kind": "ep']))
    said = "2 of 5 epochs, validation_top1 20.00% so far, no result.json"
    assert read_entry(run).missing == said


@pytest.mark.parametrize("text", ["{", "- 1", "a: [1", "", "hello", "seed: ä"])
def test_damaged_files_are_named(tmp_path, text):
    run = write_run(tmp_path / "run", 0.5)
    (run / "config.yaml").write_text(text, encoding="latin-1")
    assert "a config.yaml that cannot be read" in read_entry(run).missing
    (run / "config.yaml").unlink()
    (run / "result.json").write_text("{")
    entry = read_entry(run)
    assert "no config.yaml, a result.json that cannot be read" in entry.missing
    assert entry.result is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "that cannot be read"), ("[]", "that cannot be read"), ("{}", "without scores"),
        ('{"metric": "top1", "validation_top1": 0.5}', "without scores"),
    ],
)  # fmt: skip
def test_a_result_that_is_none(tmp_path, text, words):
    run = write_run(tmp_path / "run", 0.5)
    (run / "result.json").write_text(text)
    entry = read_entry(run)
    assert (entry.result, entry.missing) == (
        None, f"no epoch finished, a result.json {words}",
    )  # fmt: skip


def test_files_of_another_run_are_not_compared(tmp_path):
    run = write_run(tmp_path / "run", 0.5, train__epochs=5)
    (run / "identity.json").write_text(
        json.dumps({"run": "1", "settings": {"seed": 0, "train.epochs": 5}})
    )
    weights = run / "checkpoints/best.safetensors"
    save_file({"a": np.zeros(1)}, weights, {"run": "1"})
    assert read_entry(run).missing == ""
    (run / "config.yaml").write_text("seed: 0\ntrain: {epochs: 77}\n")
    entry = read_entry(run)
    assert (entry.result, entry.missing) == (
        None, "no epoch finished, a config.yaml that was edited since the run began",
    )  # fmt: skip
    (run / "config.yaml").write_text("seed: 0\ntrain: {epochs: 5}\n")
    save_file({"a": np.zeros(1)}, weights, {"run": "2"})
    assert read_entry(run).missing == "no epoch finished, best weights of another run"
    save_file({"a": np.zeros(1)}, weights, {"run": "1"})
    (run / "metrics.jsonl").write_text('{"kind": "run", "run": "2"}\n')
    foreign = "a metrics.jsonl that is damaged or of another run"
    assert read_entry(run).missing == f"{foreign}, {foreign}"


def test_metrics_that_cannot_be_read(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text("{\n")
    assert (
        read_entry(run).missing
        == "a metrics.jsonl that is damaged or of another run, no result.json"
    )


def test_what_differs(tmp_path):
    entries = [
        read_entry(write_run(tmp_path / "a", 0.5, optimizer__base_lr=0.1, train__epochs=5)),
        read_entry(write_run(tmp_path / "b", 0.6, optimizer__base_lr=0.2, train__epochs=5)),
        # A run of another version: one key is missing and one is new. `traceback` never counts.
        read_entry(write_run(tmp_path / "c", 0.7, optimizer__base_lr=0.2, new=1, traceback=True)),
    ]
    assert differing(entries) == ["optimizer.base_lr"]


def entries_of(tmp_path, *commands):
    settings = [
        {
            "model__name": "a",
            "model__weights": "hub",
            "optimizer__base_lr": 0.1,
            "augment__flip": 0,
        },
        {
            "model__name": "b",
            "model__weights": "none",
            "optimizer__base_lr": 0.2,
            "augment__flip": 1,
        },
    ]
    return [
        read_entry(write_run(tmp_path / str(number), 0.5, command, **one))
        for number, (command, one) in enumerate(zip(commands, settings, strict=True))
    ]


EVERY = ["model.name", "model.weights", "optimizer.base_lr", "augment.flip"]


@pytest.mark.parametrize(
    ("commands", "keys"),
    [
        # The chosen model sets its weights and learning rate, so only its name was chosen.
        (("model=a", "model=b"), ["model.name"]),
        (("model=a optimizer.base_lr=0.1", "model=b"), ["model.name", "optimizer.base_lr"]),
        # A group without a key such as `name` counts as all its keys.
        (("augment=light", "augment=flip"), ["augment.flip"]),
        (("-cn some model=a", "model=b"), EVERY),
        ((None, "model=b"), EVERY),
        (("seed=1", "seed=1"), EVERY),
    ],
)
def test_what_was_chosen(tmp_path, commands, keys):
    entries = entries_of(tmp_path, *commands)
    assert differing(entries) == EVERY
    assert chosen(entries, EVERY) == keys


def test_runs_are_judged_alike(tmp_path):
    entries = [read_entry(write_run(tmp_path / "a", 0.5)),
               read_entry(write_run(tmp_path / "b", 0.5, metric="mean_per_class"))]  # fmt: skip
    assert judged_by(entries[1:]) == "mean_per_class"
    with pytest.raises(UserError, match="runs judged by mean_per_class and by top1"):
        judged_by(entries)


def test_runs_on_different_images_say_so(tmp_path):
    entries = []
    for name, of_test in (("a", "1"), ("b", "2"), ("c", None)):
        run = write_run(tmp_path / name, 0.5)
        result = json.loads((run / "result.json").read_text())
        if of_test:
            prints = {"validation": {"sha256": "0"}, "test": {"sha256": of_test}}
            (run / "result.json").write_text(json.dumps({**result, "data": {"splits": prints}}))
        entries.append(read_entry(run))
    words = "images  the runs were scored on different test images"
    assert unlike(entries) == [words]
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
    ("other", "said"),
    [
        ({}, []),
        ({"test_examples": 16}, ["images  the runs were scored on 16 and 21 of the test images"]),
        ({"train": "1"},
         ["images  the runs were trained on different images under the same settings"]),
        ({"start": "6"},
         ["weights  the runs started from different weights under model.weights=start.pth"]),
        ({"start": "6", "model__weights": "other.pth"}, []),
        ({"train": "1", "dataset__train_share": 0.5}, []),
        ({"train": "1", "seed": 1}, []),
    ],
)  # fmt: skip
def test_what_differs_under_equal_settings_is_said(tmp_path, other, said):
    known = {"model__weights": "start.pth", "dataset__train_share": 1.0, "seed": 0}
    one = entry_on(tmp_path / "one", **known)
    assert unlike([one, entry_on(tmp_path / "two", **{**known, **other})]) == said


def test_a_seed_that_draws_no_images_explains_no_other_images(tmp_path):
    one, two = (entry_on(tmp_path / train, train=train, seed=int(train)) for train in "01")
    words = "images  the runs were trained on different images under the same settings"
    assert unlike([one, two]) == [words]


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


def test_files_that_were_edited_say_nothing(tmp_path):
    one, two = (entry_on(tmp_path / name) for name in ("one", "two"))
    (tmp_path / "two" / "identity.json").write_text("[1]")
    assert unlike([one, read_entry(two.directory)]) == []
