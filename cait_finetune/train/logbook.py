"""The outputs of training, and the state from which a run resumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from cait_finetune.train.checkpoint import Checkpoints
from cait_finetune.train.run_state import RunState


class Records(Protocol):
    """``metrics.jsonl`` or a substitute. `size` is the number of bytes written."""

    def write(self, kind: str, **values: float) -> None: ...

    @property
    def size(self) -> int: ...


#: Gets the metrics of an epoch, as in ``metrics.jsonl``. `True` ends the training. Any other
#: result, such as the character count that `write` returns, does not.
OnEpochEnd = Callable[[Mapping[str, Any]], object]
#: Value of `RunState.stopped` after an `OnEpochEnd` function has ended the training.
CALLBACK = "callback"


@dataclasses.dataclass(frozen=True)
class Logbook:
    """The run's state, metrics file, checkpoints and console.

    Attributes:
        on_epoch_end: the caller's functions, called after each epoch.
    """

    state: RunState
    metrics: Records
    checkpoints: Checkpoints
    console: Console
    on_epoch_end: tuple[OnEpochEnd, ...] = ()

    def end_epoch(self, **figures: float) -> None:
        """Write the record of an epoch, then call `on_epoch_end`, which may end the training."""
        self.metrics.write("epoch", **figures)
        answers = [function(dict(figures)) for function in self.on_epoch_end]
        ended = any(isinstance(one, bool | np.bool_) and bool(one) for one in answers)
        if ended and not self.state.stopped:
            self.state.stopped = CALLBACK
