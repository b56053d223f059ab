"""``cait-finetune compare outputs/…``: a leaderboard of runs.

The command takes directories of runs or sweeps, or glob patterns, and sorts the runs by their
validation metric. It prints:

- a table with the configuration keys that differ, the validation and test metrics with their 95 %
  intervals, and the seconds. Runs that differ only in their seed or fold share a row, which has their
  mean. The last column has the difference from the best row, paired by seed;
- with ``x=KEY``, the test metric by KEY and by the other settings;
- each unfinished run, with its progress and the files that it lacks;
- the command of the best run. If the recipe or the defaults changed since, so that this command now
  makes another run, the printed command takes the run's own ``config.yaml``.

It writes ``leaderboard.csv``, ``leaderboard.md`` and ``leaderboard.png`` to ``output=DIR``. The PNG
has one axis for each key in the table and one for the metric. With ``x=KEY`` it has one line for
each of the other settings. Without ``output``, the files go to the given directory. If the command
gets several directories or a pattern, the files go to the current directory. The command needs no
TensorFlow.
"""

from __future__ import annotations

import contextlib
import csv
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from cait_finetune.cli.arguments import helped
from cait_finetune.cli.entry import command
from cait_finetune.config.checks import make_folder
from cait_finetune.config.mappings import to_dict
from cait_finetune.config.settled import PATH_KEYS
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.command_line import (
    format_command,
    override,
    run_again,
    split_command,
)
from cait_finetune.runs.comparison import Comparison
from cait_finetune.runs.console_table import show_table
from cait_finetune.runs.directory import RunDirectory, forget_default_splits
from cait_finetune.runs.leaderboard import Entry, find_runs, read_entry
from cait_finetune.runs.markdown import markdown_table
from cait_finetune.runs.settings import flat
from cait_finetune.runs.unlike import unlike
from cait_finetune.runs.values import labels, mark
from cait_finetune.runtime.console import plain_console
from cait_tf.atomic import atomic_open, write_text

#: Keys that belong to one call of a command, not to the settings of the run.
_ASIDE = ("resume", "traceback", "dataset.accept_changes")


def compare(paths: list[str]) -> Comparison:
    """Read the runs at and below `paths`, and sort them.

    Raises:
        UserError: `paths` hold no run, or the runs have different metrics.
    """
    return Comparison.of([read_entry(one) for one in find_runs(paths)], best_first=True)


def short_name(comparison: Comparison) -> Callable[[Entry], str]:
    """Return a function that gives a run's path relative to the directory that holds all runs."""
    entries = (*comparison.finished, *comparison.unfinished)
    root = os.path.commonpath([entry.directory.absolute().parent for entry in entries])
    return lambda entry: os.path.relpath(entry.directory, root)


@dataclass(frozen=True)
class Reproduction:
    """The command that repeats a run.

    Attributes:
        command: the command.
        place: the directory to call it from; its relative paths start there. Empty: any or unknown.
        why: the reason why `command` reads the run's ``config.yaml``: the recorded command, or else a
            command built from the settings, gives other settings. Empty: `command` does not read it.
    """

    command: str
    place: str = ""
    why: str = ""

    @property
    def lines(self) -> list[str]:
        """The command, after the lines that explain it."""
        found = []
        if self.why:
            found.append(f"again  {self.why}")
        if self.place:
            found.append(f"begun  in {self.place}, where relative paths begin")
        return [*found, self.command]


def reproduce(entry: Entry) -> Reproduction:
    """Return the command that repeats a run.

    The result is the recorded command if it still composes the run's settings. For a run without a
    recorded command, the result is a command that sets every key that differs from its default: it
    is longer, because it names no config groups. Runs from Python and runs of older versions record no
    command. If that command does not compose the run's settings, the result reads the run's ``config.yaml``.
    """
    place = _place(entry) if entry.command else ""
    command = entry.command or _from_defaults(entry)
    if not (changed := _changed(entry, command, place)):
        return Reproduction(command, place)
    own, again = (
        "the run's own command" if entry.command else "a command built from its settings",
        run_again(entry.directory),
    )
    why = f"from config.yaml, because {own} {changed}"
    if changed := _changed(entry, again, ""):
        why += f". config.yaml, too, {changed}"
    return Reproduction(again, why=why)


def _from_defaults(entry: Entry) -> str:
    """Return a command that sets every key whose value is not the default."""
    from cait_finetune.cli.compose import configure

    defaults = flat(to_dict(OmegaConf.structured(configure())))
    words = [
        override(key, value)
        for key, value in entry.settings.items()
        if key in defaults and key not in _ASIDE and value != defaults[key]
    ]
    return format_command(words)


def _changed(entry: Entry, command: str, place: str) -> str:
    """Describe how the settings that a command composes now differ from the run's settings.

    The function ignores keys of another version, which are on one side only. It also ignores paths
    if the directory where the command began is gone.

    Args:
        place: where the command began. Empty: anywhere.
    """
    from cait_finetune.cli.compose import configure

    recipe, folder, words = split_command(command)
    gone = place and not Path(place).is_dir()
    aside = (*_ASIDE, *PATH_KEYS) if gone else _ASIDE
    try:
        with contextlib.chdir("." if gone else place or "."):
            config = configure(*words, recipe=recipe, folder=folder)
    except (UserError, OSError) as error:
        return f"cannot be composed now ({' '.join(str(error).split())})"
    composed = OmegaConf.structured(config)
    forget_default_splits(composed)  # `read_config` forgets them in the run's settings, too
    now = flat(to_dict(composed))
    changes = [
        f"{key}={shown(now[key])} (the run has {shown(value)})"
        for key, value in entry.settings.items()
        if key in now and key not in aside and mark(now[key]) != mark(value)
        for shown in [labels([now[key], value])]
    ]
    return f"now sets {', '.join(changes)}" if changes else ""


def _place(entry: Entry) -> str:
    try:
        return RunDirectory(entry.directory).read_working_directory()
    except UserError:
        return ""


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
                *(_cell(entry, key) for key in comparison.differ),
                entry.command or "",
            ])  # fmt: skip


def _cell(entry: Entry, key: str) -> Any:
    """Return a setting for the CSV file. null becomes text: `None` looks like a missing key."""
    value = entry.settings.get(key, "")
    return "null" if value is None else value


def write_markdown(
    comparison: Comparison,
    tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]],
    best: Reproduction | None,
    path: Path,
) -> None:
    """Write the printed tables, their notes, the best run's command and the unfinished runs.

    Args:
        tables: column titles and rows of each table.
        best: the command of the best run. `None`: no run has finished.
    """
    lines: list[str] = []
    for header, rows in tables:
        lines += [markdown_table(header, rows)]
    lines += [f"- {' '.join(line.split())}" for line in _remarks(comparison)]
    name = short_name(comparison)
    if best:
        *why, command = best.lines
        why = ["", *(f"- {' '.join(line.split())}" for line in why)] if why else []
        lines += ["", f"Best run, {name(comparison.best)}:", *why, "", "```bash", command, "```"]
    if comparison.unfinished:
        lines += ["", "Left out:", ""]
        lines += [f"- {name(one)}: {one.missing}" for one in comparison.unfinished]
    write_text(path, "\n".join(lines) + "\n")


def _remarks(comparison: Comparison) -> list[str]:
    return [*comparison.notes(), *unlike(list(comparison.finished))]


def show(paths: list[str], output: Path, x: str | None, console: Console) -> None:
    """Print the comparison, and write its files into `output`.

    Args:
        x: a numeric key. `None`: no second table. Otherwise a second table and the figure show the test
            metric by this key.

    Raises:
        UserError: the runs cannot be compared (`compare`), no finished runs differ in `x`, or
            `output` cannot be written.
    """
    comparison = compare(paths)
    name = short_name(comparison)
    tables = [comparison.table(name)] if comparison.finished else []
    if x is not None:
        tables.append(comparison.pivot(x))
    output = make_folder("output", output)
    for header, rows in tables:
        show_table(header, rows, console)
    for line in _remarks(comparison):
        console.print(line)
    for entry in comparison.unfinished:
        console.print(f"left out  {name(entry)}: {entry.missing}")
    best = comparison.best if comparison.finished else None
    again = reproduce(best) if best else None
    files = [output / "leaderboard.csv", output / "leaderboard.md", output / "leaderboard.png"]
    write_csv(comparison, files[0])
    write_markdown(comparison, tables, again, files[1])
    if not _draw(comparison, x, files[2]):
        files.pop()
    if best and again:
        console.print(f"best   {best.directory}")
        for line in again.lines:
            console.print(line)
    console.print(f"files  {', '.join(map(str, files))}")


def _draw(comparison: Comparison, x: str | None, path: Path) -> bool:
    """Draw the figure, and return whether it was drawn.

    Without `x`, the figure needs two runs with a score and a key that differs.
    """
    from cait_finetune.report.curves_by_setting import Axis, Curve, draw_curves
    from cait_finetune.report.parallel_coordinates import draw_parallel_coordinates

    if x is not None:
        series = comparison.series(x)
        curves = []
        for label, groups in series.lines.items():
            scores = {place: groups[place].values("test") for place in sorted(groups)}
            known = {place: values for place, values in scores.items() if values}
            curves.append(Curve(label, list(known), list(known.values())))
        axis = Axis(x, series.values, series.labels)
        draw_curves(curves, axis, f"test_{comparison.metric}", path)
        return True
    scored = [entry for entry in comparison.finished if entry.score >= 0]
    if len(scored) < 2 or not comparison.columns:
        return False
    draw_parallel_coordinates(
        {key: [one.settings.get(key, "") for one in scored] for key in comparison.columns},
        f"validation_{comparison.metric}",
        [entry.score for entry in scored],
        path,
    )
    return True


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune compare"):
        if not helped(sys.argv[1:], __doc__):
            _compare_in_words(sys.argv[1:])


def _compare_in_words(words: list[str]) -> None:
    """Run the command on its words: directories or patterns, ``output=DIR`` and ``x=KEY``.

    ``runs=[DIR,DIR]`` and ``run=DIR`` name directories too, as in the other commands.
    """
    keys = {"output": "", "x": ""}
    paths = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in keys:
            keys[key] = value
        elif equals and key in ("run", "runs") and not Path(word).exists():
            paths += value.strip("[]").split(",")
        else:
            paths.append(word)
    alone = len(paths) == 1 and Path(paths[0]).is_dir()
    output = keys["output"] or (paths[0] if alone else ".")
    if not paths:
        raise bad_value(
            "runs", "nothing", "directories of runs", "python -m cait_finetune compare outputs"
        )
    show(paths, Path(output), keys["x"] or None, plain_console())
