"""Compare runs: group the runs whose settings are equal, and tabulate means with intervals."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from cait_finetune.errors import bad_value, suggest
from cait_finetune.runs.leaderboard import Entry, chosen, differing, judged_by
from cait_finetune.scores.intervals import brackets, half_width

#: Keys that choose random images, folds and weights. Runs that differ only in these keys form a group.
DRAWS = ("seed", "dataset.seed", "dataset.fold")
_MOST = 8  # settings in a table; the CSV file has all of them


@dataclass(frozen=True)
class Group:
    """Runs whose settings are equal, except the keys in `DRAWS`.

    Attributes:
        runs: finished runs.
        metric: the metric that judges them, without ``validation_``.
    """

    runs: Sequence[Entry]
    metric: str

    @property
    def score(self) -> float:
        """The mean of the validation metric. −∞: a run has none."""
        return statistics.fmean(run.score for run in self.runs)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the first run."""
        return self.runs[0].settings

    def values(self, split: str) -> list[float]:
        """Return the metric of each run on a split. Runs without the metric are left out."""
        values = (run.finished_result.get(f"{split}_{self.metric}") for run in self.runs)
        return [one for one in values if one is not None]

    def cell(self, split: str) -> str:
        """Format the metric: the mean with its interval, or one run with its interval."""
        values = self.values(split)
        if not values:
            return ""
        if len(values) > 1:
            return f"{statistics.fmean(values):.2%} ± {100 * half_width(values):.2f}"
        examples = self.runs[0].finished_result.get("test_examples")
        if split == "test" and self.metric == "top1" and examples:
            return f"{values[0]:.2%} {brackets(values[0], examples)}"
        return f"{values[0]:.2%}"

    def minus(self, other: Group) -> list[float]:
        """Return the differences of the test metric between runs of equal draws."""
        mine, theirs = self._by_draw(), other._by_draw()
        return [mine[draw] - theirs[draw] for draw in mine if draw in theirs]

    def _by_draw(self) -> dict[tuple[Any, ...], float]:
        scores = {
            tuple(run.settings.get(key) for key in DRAWS): run.finished_result.get(
                f"test_{self.metric}"
            )
            for run in self.runs
        }
        return {draw: score for draw, score in scores.items() if score is not None}


@dataclass(frozen=True)
class Comparison:
    """The compared runs.

    Attributes:
        metric: the metric of all finished runs, without ``validation_``.
        finished: runs with a result.
        unfinished: runs without a result.
        differ: keys whose value differs between runs.
        columns: the keys of `differ` that the finished runs' commands set. Others are added if two groups
            would otherwise look alike, as after an edit of a recipe.
        copies: runs whose directory is a copy of another run's. They are not compared.
    """

    metric: str
    finished: Sequence[Entry]
    unfinished: Sequence[Entry]
    differ: Sequence[str]
    columns: Sequence[str]
    copies: Sequence[Entry] = ()

    @classmethod
    def of(cls, entries: Sequence[Entry], *, best_first: bool) -> Comparison:
        """Compare runs.

        Args:
            best_first: sort the finished runs by their validation metric.

        Raises:
            UserError: the finished runs have different metrics.
        """
        first: dict[str, Entry] = {}
        copies = [one for one in entries if one.id and first.setdefault(one.id, one) is not one]
        entries = [entry for entry in entries if entry not in copies]
        finished = [entry for entry in entries if entry.result]
        if best_first:
            finished.sort(key=lambda entry: -entry.score)
        tabulated = finished or list(entries)
        differ = differing(tabulated)
        return cls(
            judged_by(finished),
            finished,
            [entry for entry in entries if not entry.result],
            differing(list(entries)),
            _separating(tabulated, chosen(tabulated, differ), differ),
            copies,
        )

    @property
    def groups(self) -> list[Group]:
        """The groups of the finished runs, in the order of their first runs."""
        keys = [key for key in self.differ if key not in DRAWS]
        found: dict[str, list[Entry]] = {}
        for entry in self.finished:
            settings = json.dumps([entry.settings.get(key) for key in keys])
            found.setdefault(settings, []).append(entry)
        return [Group(runs, self.metric) for runs in found.values()]

    @property
    def best(self) -> Entry:
        """The best run of the group with the best mean of the validation metric."""
        group = max(self.groups, key=lambda group: group.score)
        return max(group.runs, key=lambda run: run.score)

    def table(self, name: Callable[[Entry], str]) -> tuple[list[str], list[list[str]]]:
        """Return the column titles and the rows.

        Each run has a row. If all runs form one group, a last row has their mean. If there are several
        groups of several runs, each group has a row instead.

        Args:
            name: returns the name of a run.
        """
        groups = self.groups
        header = [f"validation_{self.metric}", f"test_{self.metric}", "seconds"]
        if len(groups) == 1 or len(groups) == len(self.finished):
            columns = self.columns[:_MOST]
            rows = [_row(name(run), Group([run], self.metric), columns) for run in self.finished]
            if len(rows) > len(groups):
                rows.append(["mean", *[""] * len(columns), *_row("", groups[0], [])[1:]])
            return ["run", *columns, *header], rows
        columns = [key for key in self.columns if key not in DRAWS][:_MOST]
        best = max(groups, key=lambda group: group.score)
        groups.sort(key=lambda group: -group.score)
        rows = [
            [*_row(f"{len(one.runs)} runs" if len(one.runs) > 1 else name(one.runs[0]), one, columns),
             _difference(one, best)]
            for one in groups
        ]  # fmt: skip
        return ["run", *columns, *header, f"test_{self.metric} − best row's"], rows

    def pivot(self, key: str) -> tuple[list[str], list[list[str]]]:
        """Return column titles and rows: the test metric by `key` and by the other settings.

        Raises:
            UserError: as `series`.
        """
        values, series = self.series(key)
        rows = [[label, *(by_value[value].cell("test") if value in by_value else ""
                          for value in values)]
                for label, by_value in series.items()]  # fmt: skip
        return [f"test_{self.metric} by {key}", *map(shown, values)], rows

    def series(self, key: str) -> tuple[list[Any], dict[str, dict[Any, Group]]]:
        """Return the sorted values of `key`, and the groups by the other settings and by `key`.

        Raises:
            UserError: the finished runs do not differ in `key`.
        """
        choices = [one for one in self.differ if one not in DRAWS]
        if key not in choices:
            same = [one for one in choices if one.endswith(f".{key}")]
            hint = f"did you mean {same[0]}?" if same else suggest(key, choices)
            raise bad_value(
                "x", key, f"a key that differs between the runs: {', '.join(choices)}", hint
            )
        series: dict[str, dict[Any, Group]] = {}
        others = self._telling([one for one in self.columns if one != key and one not in DRAWS])
        for group in self.groups:
            label = " ".join(f"{_short(one)}={shown(group.settings.get(one))}" for one in others)
            value = group.settings.get(key)
            series.setdefault(label or "all runs", {})[
                shown(value) if isinstance(value, list) else value
            ] = group
        values = {value for by_value in series.values() for value in by_value}
        numeric = all(isinstance(value, int | float) for value in values)
        return sorted(values, key=None if numeric else str), series

    def _telling(self, keys: list[str]) -> list[str]:
        """Return `keys` without the last ones, as long as the groups still differ as much."""

        def kinds(of: list[str]) -> int:
            return len({json.dumps([one.settings.get(key) for key in of]) for one in self.groups})

        for key in reversed(keys):
            fewer = [one for one in keys if one != key]
            if kinds(fewer) == kinds(keys):
                keys = fewer
        return keys

    def notes(self) -> list[str]:
        """Explain the intervals in the table, and name the keys that it does not show."""
        lines = []
        groups = self.groups
        if len(groups) < len(self.finished):
            lines.append("±       95 % interval of the mean over runs that differ only in their draw "
                         "(Student's t)")  # fmt: skip
        singles = self.finished if len(groups) == 1 else [
            group.runs[0] for group in groups if len(group.runs) == 1
        ]  # fmt: skip
        if any("(" in Group([run], self.metric).cell("test") for run in singles):
            lines.append(
                "(…)     95 % interval of one run, by the number of its test images (Wilson)"
            )
        lines += [
            f"copy    {one.directory} is a copy of another run, and left out" for one in self.copies
        ]
        if hidden := self.columns[_MOST:]:
            lines.append(f"keys    {', '.join(hidden)} differ too")
        return lines


def _separating(
    entries: Sequence[Entry], columns: Sequence[str], differ: Sequence[str]
) -> list[str]:
    """Add keys of `differ` that distinguish runs with equal values in `columns`."""

    def kinds(keys: Sequence[str]) -> int:
        return len({json.dumps([one.settings.get(key) for key in keys]) for one in entries})

    found = list(columns)
    for key in differ:
        if (
            key not in found
            and key not in DRAWS
            and kinds([*found, *DRAWS, key]) > kinds([*found, *DRAWS])
        ):
            found.append(key)
    return found


def _row(title: str, group: Group, columns: Sequence[str]) -> list[str]:
    """Return the title, the settings in `columns`, both metrics and the mean time."""
    settings = group.settings
    seconds = [run.finished_result.get("wall_seconds") for run in group.runs]
    known = [one for one in seconds if one is not None]
    return [
        title,
        *(shown(settings[key]) if key in settings else "" for key in columns),
        group.cell("validation"),
        group.cell("test"),
        f"{statistics.fmean(known):.0f}" if known else "",
    ]


def _short(key: str) -> str:
    """Return the last part of a key, or the whole key if that part is ambiguous."""
    leaf = key.rpartition(".")[2]
    return key if leaf in ("name", "seed", "enabled") else leaf


def _difference(group: Group, best: Group) -> str:
    """Format the mean paired difference of the test metric, in points, with its interval."""
    differences = group.minus(best)
    if group is best or len(differences) < 2:
        return ""
    mean, half = 100 * statistics.fmean(differences), 100 * half_width(differences)
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})" if math.isfinite(mean) else ""


def shown(value: Any) -> str:
    """Format a setting for a table."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print a table. On a narrow console titles and cells wrap; none is cut off."""

    def table(titles: Sequence[str], padding: int) -> Table:
        table = Table(padding=(0, padding))
        for title in titles:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table

    wide = table(header, 1)
    if console.measure(wide, options=console.options.update(width=10_000)).maximum > console.width:
        breakable = [title.replace(".", ".\n").replace("_", "_\n") for title in header]
        console.print(table(breakable, 0))
    else:
        console.print(wide)
