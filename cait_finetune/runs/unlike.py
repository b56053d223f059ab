"""Find differences between finished runs that no setting shows, such as other images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cait_finetune.runs.command_line import override
from cait_finetune.runs.leaderboard import Entry
from cait_finetune.runs.pools import fold_of, pool_notes, prints_of, unlike_runs


def unlike(entries: Sequence[Entry]) -> list[str]:
    """Return a line for each difference between finished runs that no setting shows.

    The function compares the scored images, the training images and the initial weights. It also
    reports overlapping folds, resumes with changed images, and runs that ended early. Runs of
    versions that recorded none of these are not compared.
    """
    entries = [entry for entry in entries if entry.result]
    return [
        *_scored(entries),
        *_overlapping_folds(entries),
        *pool_notes(entries),
        *_resumed_on_others(entries),
        *_started(entries),
        *_ended_early(entries),
    ]


def _ended_early(entries: Sequence[Entry]) -> list[str]:
    """Name the runs that the caller's function or the time limit ended."""
    return [
        f"length  {entry.directory} was ended by {ended} after {entry.finished_result['steps']:,} steps"
        for entry in entries
        if (ended := entry.finished_result.get("stopped_by")) in ("callback", "train.max_hours")
    ]


def _scored(entries: Sequence[Entry]) -> list[str]:
    """Compare the scored images. Folds have different validation images by design."""
    unlike: dict[str, list[str]] = {}
    for split in ("validation", "test"):
        if runs := unlike_runs(entries, split, _comparable if split == "validation" else None):
            *others, last = (str(run.directory) for run in runs)
            unlike.setdefault(f"{', '.join(others)} and {last}", []).append(split)
    lines = [
        f"images  {runs} were scored on different {' and '.join(splits)} images"
        for runs, splits in unlike.items()
    ]
    results = [entry.finished_result for entry in entries]
    counts: set[int] = {
        result["test_examples"] for result in results if result.get("test_examples") is not None
    }
    scored = [prints for entry in entries if (prints := prints_of(entry))]
    if lines:
        return lines
    if len(counts) > 1:
        numbers = " and ".join(f"{count:,}" for count in sorted(counts))
        return [f"images  the runs were scored on {numbers} of the test images"]
    if len(scored) > 1 and not all(one.get("test", {}).get("content_sha256") for one in scored):
        return [
            "images  names and labels are the same; contents were not compared: a run had "
            "dataset.check=false"
        ]
    return []


def _comparable(one: Entry, other: Entry) -> bool:
    mine, theirs = fold_of(one), fold_of(other)
    return not mine or not theirs or mine == theirs


def _overlapping_folds(entries: Sequence[Entry]) -> list[str]:
    folded = [one.settings for one in entries if one.settings.get("dataset.folds")]
    seeds = sorted({str(one.get("dataset.seed")) for one in folded})
    if len(seeds) < 2 or len({one.get("dataset.fold") for one in folded}) < 2:
        return []
    return [
        f"images  the folds were drawn by different seeds ({', '.join(seeds)}), so they overlap: "
        "set dataset.seed"
    ]


def _resumed_on_others(entries: Sequence[Entry]) -> list[str]:
    lines = []
    for entry in entries:
        accepted = entry.finished_result.get("data", {}).get("accepted_changes", [])
        lines += [
            f"images  {entry.directory} was resumed although its images had changed: "
            f"{one.removeprefix('resume: ')}"
            for one in accepted
            if one.startswith("resume:")
        ]
    return lines


def _started(entries: Sequence[Entry]) -> list[str]:
    started: dict[Any, dict[str, Entry]] = {}
    for entry in entries:
        if entry.start:
            of = entry.settings.get("model.name"), entry.settings.get("model.weights")
            started.setdefault(of, {}).setdefault(entry.start, entry)
    lines = []
    for (_, value), starts in started.items():
        if len(starts) > 1:
            first, second, *_ = starts.values()
            lines.append(
                f"weights  {first.directory} and {second.directory} started from different weights "
                f"under {override('model.weights', value)}"
            )
    return lines
