"""``python -m cait_finetune compare outputs/…``: a leaderboard of runs.

The command takes directories of runs or sweeps, or glob patterns, and sorts the runs by their
validation metric. It prints:

- a table with the configuration keys that differ, the validation and test metrics, and the seconds;
- each unfinished run, with its progress and the files that it lacks;
- the command of the best run.

It writes ``leaderboard.csv``, ``leaderboard.md`` and ``leaderboard.png`` to ``output=DIR``. The PNG
has one axis for each key in the table and one for the metric. It needs two scored runs and a key
that differs. Without ``output``, the files go to the given directory. If the command gets several
directories or a pattern, the files go to the current directory. The command needs no TensorFlow.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from cait_finetune.cli.arguments import helped
from cait_finetune.cli.entry import command
from cait_finetune.config.checks import make_folder
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.command_line import format_command, override
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.leaderboard import (
    Entry,
    cells,
    chosen,
    differing,
    find_runs,
    flat,
    header,
    judged_by,
    read_entry,
    unlike,
)
from cait_finetune.runtime.console import plain_console
from cait_tf.atomic import atomic_open, write_text


@dataclass(frozen=True)
class Comparison:
    """The compared runs.

    Attributes:
        root: the deepest directory that contains all runs.
        metric: the metric of all finished runs, without ``validation_``.
        finished: runs with a result, best first.
        unfinished: runs without a result.
        differ: keys whose value differs between runs.
        columns: the keys of `differ` that the table shows.
    """

    root: Path
    metric: str
    finished: list[Entry]
    unfinished: list[Entry]
    differ: list[str]
    columns: list[str]

    def name(self, entry: Entry) -> str:
        """Return the run's path relative to `root`."""
        return os.path.relpath(entry.directory, self.root)


def compare(paths: list[str]) -> Comparison:
    """Read the runs at and below `paths`, and sort them.

    Raises:
        UserError: `paths` hold no run, or the runs have different metrics.
    """
    entries = [read_entry(directory) for directory in find_runs(paths)]
    finished = sorted((one for one in entries if one.result), key=lambda one: -one.score)
    differ = differing(entries)
    return Comparison(
        Path(os.path.commonpath([entry.directory.absolute().parent for entry in entries])),
        judged_by(finished),
        finished,
        [entry for entry in entries if not entry.result],
        differ,
        chosen(entries, differ),
    )


def reproduce(entry: Entry) -> str:
    """Return the command that repeats a run.

    For a run without a recorded command, return a command that sets every key that differs from its
    default. The returned command is longer than a recorded command, because it names no config
    groups. Runs from Python and runs of older versions record no command.
    """
    if entry.command:
        return entry.command
    from cait_finetune.cli.compose import configure

    defaults = flat(OmegaConf.to_container(OmegaConf.structured(configure())))
    words = [
        override(key, value)
        for key, value in entry.settings.items()
        if key in defaults and key != "resume" and value != defaults[key]
    ]
    return format_command(words)


def _place(entry: Entry) -> str:
    try:
        return RunDirectory(entry.directory).read_working_directory()
    except UserError:
        return ""


def _rows(comparison: Comparison) -> list[list[str]]:
    return [
        cells(comparison.name(entry), entry, comparison.columns, comparison.metric)
        for entry in comparison.finished
    ]


def write_csv(comparison: Comparison, path: Path) -> None:
    """Write one row per run, unfinished runs last, with every key that differs.

    Metrics are not rounded.
    """
    metrics = [f"validation_{comparison.metric}", f"test_{comparison.metric}", "wall_seconds"]
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "missing", *metrics, *comparison.differ, "command"])
        for entry in (*comparison.finished, *comparison.unfinished):
            writer.writerow([
                entry.directory,
                entry.missing,
                *((entry.result or {}).get(name, "") for name in metrics),
                *(entry.settings.get(key, "") for key in comparison.differ),
                entry.command or "",
            ])  # fmt: skip


def write_markdown(comparison: Comparison, path: Path, command: str | None) -> None:
    """Write the printed table, the best run's command, any warning and the unfinished runs.

    Args:
        command: command of the best run. `None`: no run has finished.
    """
    titles = header(comparison.columns, comparison.metric)

    def line(words: Iterable[str]) -> str:
        return "| " + " | ".join(word.replace("|", r"\|") for word in words) + " |"

    place = _place(comparison.finished[0]) if command else ""
    lines = [line(titles), "|" + "---|" * len(titles), *(line(row) for row in _rows(comparison))]
    if command:
        begun = f", begun in {place}, where relative paths begin" if place else ""
        lines += ["", f"Best run, {comparison.name(comparison.finished[0])}{begun}:", ""]
        lines += ["```bash", command, "```"]
    for warning in unlike(comparison.finished):
        lines += ["", warning]
    if comparison.unfinished:
        lines += ["", "Not finished:", ""]
        lines += [f"- {comparison.name(one)}: {one.missing}" for one in comparison.unfinished]
    write_text(path, "\n".join(lines) + "\n")


def show(paths: list[str], output: Path, console: Console) -> None:
    """Print the comparison, and write its files into `output`.

    Raises:
        UserError: as `compare`, or `output` cannot be written.
    """
    from cait_finetune.report.parallel_coordinates import draw_parallel_coordinates

    comparison = compare(paths)
    output = make_folder("output", output)
    table = Table(*header(comparison.columns, comparison.metric))
    for row in _rows(comparison):
        table.add_row(*row)
    if comparison.finished:
        console.print(table)
    for warning in unlike(comparison.finished):
        console.print(warning)
    for entry in comparison.unfinished:
        console.print(f"not finished  {comparison.name(entry)}: {entry.missing}")
    files = [output / "leaderboard.csv", output / "leaderboard.md"]
    best = comparison.finished[0] if comparison.finished else None
    command = reproduce(best) if best else None
    write_csv(comparison, files[0])
    write_markdown(comparison, files[1], command)
    scored = [entry for entry in comparison.finished if entry.score >= 0]
    if len(scored) > 1 and comparison.columns:
        files.append(output / "leaderboard.png")
        draw_parallel_coordinates(
            {key: [one.settings.get(key) for one in scored] for key in comparison.columns},
            f"validation_{comparison.metric}",
            [entry.score for entry in scored],
            files[-1],
        )
    if best:
        console.print(f"best   {best.directory}")
        if place := _place(best):
            console.print(f"begun  in {place}, where relative paths begin")
        console.print(command)
    console.print(f"files  {', '.join(map(str, files))}")


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune compare"):
        if not helped(sys.argv[1:], __doc__):
            _compare_in_words(sys.argv[1:])


def _compare_in_words(words: list[str]) -> None:
    """Run the command on its words: directories or patterns, and ``output=DIR``."""
    paths = [word for word in words if not word.startswith("output=")]
    outputs = [word.removeprefix("output=") for word in words if word not in paths]
    alone = len(paths) == 1 and Path(paths[0]).is_dir()
    output = outputs[-1] if outputs else paths[0] if alone else "."
    if not paths:
        raise bad_value(
            "runs", "nothing", "directories of runs", "python -m cait_finetune compare outputs"
        )
    show(paths, Path(output), plain_console())
