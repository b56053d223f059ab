"""The outputs of training, and the state from which a run resumes."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from rich.console import Console

from cait_finetune.train.checkpoint import Checkpoints
from cait_finetune.train.run_state import RunState


class Records(Protocol):
    """``metrics.jsonl`` or a substitute. `size` is the number of bytes written."""

    def write(self, kind: str, **values: float) -> None: ...

    @property
    def size(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Logbook:
    """The run's state, metrics file, checkpoints and console."""

    state: RunState
    metrics: Records
    checkpoints: Checkpoints
    console: Console
