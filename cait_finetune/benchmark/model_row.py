"""What was measured of one task, by all contestants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cait_finetune.benchmark.memory import Memory
from cait_finetune.benchmark.rounds import Speeds, ratio
from cait_finetune.benchmark.task import Task

OURS, OURS_SINGLE = "ours", "ours, one thread an operation"
TIMM_EAGER, TIMM_COMPILED = "timm eager", "timm compiled"
_THEIRS = (TIMM_EAGER, TIMM_COMPILED)


@dataclass(frozen=True)
class Row:
    """Speeds and memory by contestant; `operations` of an image, `share` of the machine's peak."""

    task: Task
    speeds: Mapping[str, Speeds]
    memory: Mapping[str, Memory]
    operations: int
    share: float

    @property
    def best(self) -> str | None:
        """The fastest of the others; None if there are none."""
        others = [name for name in self.speeds if name in _THEIRS]
        return max(others, key=lambda name: self.speeds[name].median, default=None)

    @property
    def ratio(self) -> float | None:
        """Our speed to that of the best, round by round."""
        return self.ratio_of(OURS)

    def ratio_of(self, name: str) -> float | None:
        """Of one of ours, if it took part."""
        if self.best is None or name not in self.speeds:
            return None
        return ratio(self.speeds[name], self.speeds[self.best])

    @property
    def memory_ratio(self) -> float | None:
        """Our peak to that of the other who needs least, libraries and all."""
        others = [one.calls for name, one in self.memory.items() if name in _THEIRS]
        return self.memory[OURS].calls / min(others) if others else None

    def as_figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": dataclasses.asdict(self.task),
            "images_per_second": {name: one.rounds for name, one in self.speeds.items()},
            "memory_bytes": {name: dataclasses.asdict(one) for name, one in self.memory.items()},
            "best": self.best,
            "ratio": self.ratio,
            "memory_ratio": self.memory_ratio,
            "flops_per_image": self.operations,
            "share_of_peak": self.share,
        }
