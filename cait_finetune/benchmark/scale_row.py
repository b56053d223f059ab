"""What was measured of one kind of work on one model, over batch sizes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from cait_finetune.benchmark.line import Line, fit
from cait_finetune.benchmark.memory import Memory
from cait_finetune.benchmark.rounds import Speeds
from cait_finetune.benchmark.task import Task


@dataclass
class Series:
    """Speed and memory by batch size, and why a size was left out; `task` has the smallest size."""

    task: Task
    speeds: dict[int, Speeds] = field(default_factory=dict)
    memory: dict[int, Memory] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)

    def add(self, batch_size: int, speeds: Speeds, memory: Memory) -> None:
        """A size that was measured."""
        self.speeds[batch_size], self.memory[batch_size] = speeds, memory

    @property
    def peaks(self) -> dict[int, int]:
        """The most bytes held while working, libraries included, by batch size."""
        return {size: memory.calls for size, memory in self.memory.items()}

    @property
    def line(self) -> Line | None:
        """Through the peaks; None where they say nothing of larger batches."""
        if len(self.peaks) < 2:
            return None
        line = fit(self.peaks)
        return line if line.per_image > 0 else None

    def as_figures(self) -> dict[str, Any]:
        """For JSON."""
        task = dataclasses.asdict(self.task)
        del task["batch_size"]
        return {
            "task": task,
            "images_per_second": {size: one.rounds for size, one in self.speeds.items()},
            "memory_bytes": {size: dataclasses.asdict(one) for size, one in self.memory.items()},
            "left_out": self.skipped,
            "line_bytes": dataclasses.asdict(self.line) if self.line else None,
        }
