"""Compare runs: group the runs whose settings are equal, and tabulate means with intervals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cait_finetune.config.suggestions import nearest
from cait_finetune.errors import bad_value, suggest
from cait_finetune.runs.copies import distinct
from cait_finetune.runs.group import DRAWS, Group
from cait_finetune.runs.leaderboard import Entry, differing, judged_by
from cait_finetune.runs.origins import chosen, groups_in, unset, why_unset
from cait_finetune.runs.values import labels, mark_of

_MOST = 8  # settings in a table; the CSV file has all of them


@dataclass(frozen=True)
class Series:
    """The groups of the finished runs by one setting, for a table and a figure.

    Attributes:
        values: the different values of the setting, sorted.
        labels: the text of each value.
        lines: the groups, by the text of their other settings, then by index in `values`.
    """

    values: list[Any]
    labels: list[str]
    lines: dict[str, dict[int, Group]]


@dataclass(frozen=True)
class Comparison:
    """The compared runs.

    Attributes:
        metric: the metric of all finished runs, without ``validation_``.
        finished: runs with a result.
        unfinished: runs without a result.
        differ: keys whose value differs between runs.
        columns: the keys of `differ` for the table: keys that the runs' commands set, keys that no
            command explains, and further keys that distinguish groups.
        unset: the keys of `columns` that no command explains.
        follow: the keys that differ between the finished runs and are not in `columns`.
        copies: a line for each run that is in the comparison twice.
    """

    metric: str
    finished: Sequence[Entry]
    unfinished: Sequence[Entry]
    differ: Sequence[str]
    columns: Sequence[str]
    unset: Sequence[str] = ()
    follow: Sequence[str] = ()
    copies: Sequence[str] = ()

    @classmethod
    def of(cls, entries: Sequence[Entry], *, best_first: bool) -> Comparison:
        """Compare runs.

        Args:
            best_first: sort the finished runs by their validation metric.

        Raises:
            UserError: the finished runs have different metrics.
        """
        entries, copies = distinct(entries)
        finished = [entry for entry in entries if entry.result]
        if best_first:
            finished.sort(key=lambda entry: -entry.score)
        tabulated = finished or entries
        differ = differing(tabulated)
        unexplained = unset(tabulated, differ)
        first = {*chosen(tabulated, differ), *unexplained}
        columns = _separating(tabulated, [key for key in differ if key in first], differ)
        return cls(
            judged_by(finished),
            finished,
            [entry for entry in entries if not entry.result],
            differing(entries),
            columns,
            unexplained,
            [key for key in differ if key not in columns and key not in DRAWS],
            copies,
        )

    @property
    def groups(self) -> list[Group]:
        """The groups of the finished runs, in the order of their first runs."""
        keys = [key for key in self.differ if key not in DRAWS]
        found: dict[tuple[str, ...], list[Entry]] = {}
        for entry in self.finished:
            found.setdefault(_marks(entry, keys), []).append(entry)
        return [Group(runs, self.metric) for runs in found.values()]

    @property
    def best(self) -> Entry:
        """The best run of the group with the best mean of the validation metric."""
        group = max(self.groups, key=lambda group: group.score)
        return max(group.runs, key=lambda run: run.score)

    @property
    def by_group(self) -> bool:
        """Whether the table has a row for each group. Otherwise each run has a row."""
        return 1 < len(self.groups) < len(self.finished)

    @property
    def candidates(self) -> list[str]:
        """The settings that a table of any width would show. Rows of groups show no draws."""
        return [key for key in self.columns if not (self.by_group and key in DRAWS)]

    def label(self, key: str) -> Callable[[Any], str]:
        """Return a function that formats values of `key`. Different values get different texts."""
        return labels(one.settings[key] for one in self.finished if key in one.settings)

    def table(self, name: Callable[[Entry], str]) -> tuple[list[str], list[list[str]]]:
        """Return the column titles and the rows.

        Each run has a row. If all runs form one group, a last row has their mean. If there are several
        groups, and one has several runs, each group has a row instead.

        Args:
            name: returns the name of a run.
        """
        groups = self.groups
        header = [f"validation_{self.metric}", f"test_{self.metric}", "seconds"]
        columns = {key: self.label(key) for key in self.candidates[:_MOST]}
        if not self.by_group:
            rows = [_row(name(run), Group([run], self.metric), columns) for run in self.finished]
            if len(rows) > len(groups):
                rows.append(["mean", *[""] * len(columns), *_row("", groups[0], {})[1:]])
            return ["run", *columns, *header], rows
        best = max(groups, key=lambda group: group.score)
        groups.sort(key=lambda group: -group.score)
        rows = [
            [*_row(one.title if len(one.runs) > 1 else name(one.runs[0]), one, columns),
             one.difference(best)]
            for one in groups
        ]  # fmt: skip
        return ["run", *columns, *header, f"test_{self.metric} − best row's"], rows

    def pivot(self, key: str) -> tuple[list[str], list[list[str]]]:
        """Return column titles and rows: the test metric by `key` and by the other settings.

        Raises:
            UserError: the finished runs do not differ in `key`.
        """
        series = self.series(key)
        rows = [
            [label, *(groups[place].cell("test") if place in groups else ""
                      for place in range(len(series.values)))]
            for label, groups in series.lines.items()
        ]  # fmt: skip
        return [f"test_{self.metric} by {key}", *series.labels], rows

    def series(self, key: str) -> Series:
        """Return the groups by their other settings and by their value of `key`, one per pair.

        Raises:
            UserError: the finished runs do not differ in `key`.
        """
        choices = [one for one in differing(self.finished) if one not in DRAWS]
        if key not in choices:
            near = [one for one in nearest(key) if one in choices]
            hint = f"did you mean x={near[0]}?" if near else suggest(key, choices)
            if not choices:
                hint = (
                    f"{len(self.finished)} of {len(self.finished) + len(self.unfinished)} runs are "
                    "finished: resume the others"
                    if self.unfinished
                    else "No key differs: name a second run, or the directory of a sweep"
                )
            expected = (
                f"a key that differs between the runs{': ' * bool(choices)}{', '.join(choices)}"
            )
            raise bad_value("x", key, expected, hint)
        runs = [group.runs[0] for group in self.groups]
        wanted = [one for one in self.columns if one != key and one not in DRAWS]
        # Add keys to `wanted` until any two groups differ.
        apart = _separating(runs, [*wanted, key], choices, draws=())
        others = _telling(runs, [one for one in apart if one != key])
        written = {one: self.label(one) for one in others}
        names = {one: _short(one, others) for one in others}
        different = {mark_of(run.settings, key): run.settings.get(key, "") for run in runs}
        order = sorted(different, key=lambda one: _rank(different[one]))
        values = [different[one] for one in order]
        lines: dict[str, dict[int, Group]] = {}
        for group in self.groups:
            settings = group.settings
            label = " ".join(
                f"{names[one]}={written[one](settings[one]) if one in settings else ''}"
                for one in others
            )
            place = order.index(mark_of(settings, key))
            lines.setdefault(label or "all runs", {})[place] = group
        return Series(values, [self.label(key)(value) for value in values], lines)

    def notes(self) -> list[str]:
        """Explain the intervals in the table, and name the keys that it does not show."""
        lines = []
        groups = self.groups
        draws = [key for key in self.differ if key in DRAWS]
        if any(len(group.draws) > 1 for group in groups):
            lines.append("±       95 % interval of the mean over runs that differ only in their draw "
                         f"(Student's t): {', '.join(draws)}")  # fmt: skip
        rows = groups if self.by_group else [Group([run], self.metric) for run in self.finished]
        if any("(" in row.cell("test") for row in rows):
            lines.append("(…)     95 % interval of one run, by the number of its test images")
        for runs in (runs for group in groups for runs in group.repeated):
            names = " and ".join(str(run.directory) for run in runs)
            lines.append(f"draw    {names} have equal settings and an equal draw: they count once")
        lines += self.copies
        if hidden := self.candidates[_MOST:]:
            lines.append(f"keys    {', '.join(hidden)} differ too: the table has {_MOST} settings")
        if self.follow:
            choices = ", ".join(f"{group}=…" for group in groups_in(self.finished))
            why = f": {choices} may set them" if choices else ""
            lines.append(f"keys    {', '.join(self.follow)} differ too{why}")
        if self.unset:
            why = why_unset(self.unset)
            lines.append(
                f"recipe  no command sets {', '.join(self.unset)}, and values differ: {why} changed "
                "between the runs"
            )
        if partial := _partly_recorded(self.finished):
            lines.append(
                f"keys    {', '.join(partial)} are recorded by some runs only, and not compared: "
                "the runs are of different versions"
            )
        return lines


def _rank(value: Any) -> tuple[int, float, str]:
    """Return a sort key: numbers by size, then texts, then null."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return 2 if value is None else 1, 0.0, str(value)


def _marks(entry: Entry, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(mark_of(entry.settings, key) for key in keys)


def _kinds(entries: Sequence[Entry], keys: Sequence[str]) -> int:
    return len({_marks(entry, keys) for entry in entries})


def _separating(
    entries: Sequence[Entry],
    columns: Sequence[str],
    differ: Sequence[str],
    draws: Sequence[str] = DRAWS,
) -> list[str]:
    """Add keys of `differ` that separate runs with equal values of `columns` and `draws`."""
    found = list(columns)
    for key in differ:
        if (
            key not in found
            and key not in DRAWS
            and _kinds(entries, [*found, *draws, key]) > _kinds(entries, [*found, *draws])
        ):
            found.append(key)
    return found


def _telling(entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """Leave out keys that are not needed to tell the runs apart, from the last key on."""
    kept = list(keys)
    for one in reversed(keys):
        fewer = [other for other in kept if other != one]
        if _kinds(entries, fewer) == _kinds(entries, kept):
            kept = fewer
    return kept


def _partly_recorded(entries: Sequence[Entry]) -> list[str]:
    """Return the keys that only some of the runs have."""
    keys = dict.fromkeys(key for entry in entries for key in entry.settings)
    return [key for key in keys if not all(key in entry.settings for entry in entries)]


def _row(title: str, group: Group, columns: dict[str, Callable[[Any], str]]) -> list[str]:
    """Return the title, the settings in `columns`, both metrics and the mean time."""
    settings = group.settings
    seconds = [run.finished_result.get("wall_seconds") for run in group.runs]
    known = [one for one in seconds if one is not None]
    return [
        title,
        *(label(settings[key]) if key in settings else "" for key, label in columns.items()),
        group.cell("validation"),
        group.cell("test"),
        f"{statistics.fmean(known):.0f}" if known else "",
    ]


def _short(key: str, keys: Sequence[str]) -> str:
    """Return the last part of a key, or the whole key if that part is too general or not unique."""
    leaf = key.rpartition(".")[2]
    alone = [one.rpartition(".")[2] for one in keys].count(leaf) == 1
    return leaf if alone and leaf not in ("name", "seed", "enabled") else key
