"""Contestants measured in turn, so that what else the machine does hits all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Speeds:
    """What one contestant did in each round: images a second, or seconds."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        low, high = min(self.rounds), max(self.rounds)
        return f"{figure(self.median)} ({figure(low)}–{figure(high)})"


def figure(value: float) -> str:
    """Three digits of it that say something, or all before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_turn(
    contestants: Mapping[str, Callable[[], float]], rounds: int, done: Callable[[], object]
) -> dict[str, Speeds]:
    """Each contestant's speed in each round; ``done`` is called after each measurement."""
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        # The order changes from round to round: the second one finds the machine warm.
        names = list(contestants)[:: -1 if number % 2 else 1]
        for name in names:
            measured[name].append(contestants[name]())
            done()
    return {name: Speeds(tuple(speeds)) for name, speeds in measured.items()}


def ratio(ours: Speeds, theirs: Speeds) -> float:
    """The median of the rounds' ratios: what slows a whole round down cancels out."""
    return statistics.median(
        one / other for one, other in zip(ours.rounds, theirs.rounds, strict=True)
    )
