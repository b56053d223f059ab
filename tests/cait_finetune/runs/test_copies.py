"""Runs that are in a comparison twice."""

from __future__ import annotations

import json

import pytest

from cait_finetune.runs.copies import distinct
from cait_finetune.runs.leaderboard import read_entry
from tests.cait_finetune.runs.test_leaderboard import write_run


def state(directory, epochs, score=0.5, weights="w", number="1"):
    """Return a run with the scores of its epochs, its weights and its id."""
    run = write_run(directory, score)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "weights_sha256": weights}))
    (run / "identity.json").write_text(json.dumps({"run": number, "settings": {"seed": 0}}))
    records = [
        {"kind": "epoch", "epoch": epoch, "validation_top1": one}
        for epoch, one in enumerate(epochs, 1)
    ]
    lines = [{"kind": "run", "run": number}, *records]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_entry(run)


@pytest.fixture
def found(tmp_path):
    """Return a function that gives the names that stay, and the lines, in any order of the runs."""

    def both(*entries):
        kept, notes = distinct(entries)
        again, same = distinct(entries[::-1])
        names = sorted(one.directory.name for one in kept)
        assert names == sorted(one.directory.name for one in again)
        assert sorted(notes) == sorted(same)
        return names, [line.replace(f"{tmp_path}/", "") for line in notes]

    return both


def test_a_copy_is_left_out(tmp_path, found):
    runs = [state(tmp_path / name, [0.3, 0.5]) for name in "ba"]
    line = "copy    b is left out: a copy of a, with its weights and scores"
    assert found(*runs) == (["a"], [line])


def test_a_copy_that_trained_on_stays_and_replaces_its_earlier_state(tmp_path, found):
    early = state(tmp_path / "a", [0.3, 0.5])
    late = state(tmp_path / "cp", [0.3, 0.5, 0.7], 0.7, "other")
    line = "copy    a is left out: an earlier state of cp, which trained further"
    assert found(early, late) == (["cp"], [line])


def test_copies_that_trained_on_apart_all_stay(tmp_path, found):
    runs = [
        state(tmp_path / "a", [0.3, 0.5]),
        state(tmp_path / "b", [0.3, 0.4, 0.6], 0.6, "other"),
    ]
    line = "copy    b and a have one run id but other weights or scores: all stay"
    assert found(*runs) == (["a", "b"], [line])


def test_other_scores_of_the_same_weights_are_no_copy(tmp_path, found):
    runs = [state(tmp_path / "a", [0.3]), state(tmp_path / "b", [0.3], 0.4)]
    assert found(*runs)[0] == ["a", "b"]


def test_runs_with_other_ids_or_without_an_id_are_no_copies(tmp_path, found):
    runs = [state(tmp_path / "a", [0.3]), state(tmp_path / "b", [0.3], number="2")]
    plain = [read_entry(write_run(tmp_path / name, 0.5)) for name in "cd"]
    assert found(*runs, *plain) == (["a", "b", "c", "d"], [])
