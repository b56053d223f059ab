"""Find the runs that are in a comparison twice: copies of a run's directory, and earlier states of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.exports import weights_mark
from cait_finetune.runs.leaderboard import Entry
from cait_finetune.runs.records import read_records


def distinct(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Leave out copies of a run, and copies that were made before the run trained further.

    A copy of a directory keeps the run's id. Copies that then trained differently all stay. The
    choice of the run that stays does not depend on the order of `entries`.

    Returns:
        The runs that stay, and a line for each run that was copied.
    """
    same: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.id and entry.result:
            same.setdefault(entry.id, []).append(entry)
    left_out: list[Entry] = []
    notes = []
    for runs in (runs for runs in same.values() if len(runs) > 1):
        kept: list[Entry] = []
        for entry in sorted(runs, key=_longest_first):
            why = next(filter(None, (_double(entry, other) for other in kept)), "")
            if why:
                left_out.append(entry)
                notes.append(f"copy    {entry.directory} is left out: {why}")
            else:
                kept.append(entry)
        if len(kept) > 1:
            names = " and ".join(str(one.directory) for one in kept)
            notes.append(f"copy    {names} have one run id but other weights or scores: all stay")
    stay = [one for one in entries if not any(one is other for other in left_out)]
    return stay, notes


def _longest_first(entry: Entry) -> tuple[int, str]:
    return -len(_epochs(entry)), str(entry.directory)


def _double(entry: Entry, other: Entry) -> str:
    """Describe `entry` if it adds nothing to `other`, else return an empty string."""
    if _outcome(entry) == _outcome(other):
        return f"a copy of {other.directory}, with its weights and scores"
    mine, theirs = _epochs(entry), _epochs(other)
    if mine and len(mine) < len(theirs) and theirs[: len(mine)] == mine:
        return f"an earlier state of {other.directory}, which trained further"
    return ""


def _outcome(entry: Entry) -> tuple[Any, ...]:
    """Return what differs after more training: the best weights and the scores."""
    result = entry.finished_result
    weights = result.get("weights_sha256") or weights_mark(
        RunDirectory(entry.directory).best_checkpoint
    )
    metric = result["metric"]
    return weights, *(result[f"{split}_{metric}"] for split in ("validation", "test"))


def _epochs(entry: Entry) -> list[dict]:
    try:
        return read_records(RunDirectory(entry.directory), "epoch", "runs")
    except UserError:
        return []
