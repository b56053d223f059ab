"""Many loggers as one, none of which can stop a run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from cait_finetune.errors import Interrupted
from cait_finetune.loggers.logger import Logger

logger = logging.getLogger(__name__)

#: Of the best checkpoint and of the export: both are the best of their run and its latest.
ALIASES = ("best", "latest")


class Loggers:
    """Hands everything to each of some loggers, and finishes them when its block is left.

    A logger that raises is switched off, with one warning: training matters more than its record.
    """

    def __init__(self, loggers: Iterable[Logger] = ()) -> None:
        self._loggers = list(loggers)

    def begin(
        self,
        config: Mapping[str, Any],
        resumed: bool,
        tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]],
    ) -> None:
        """What is known before the first step; of the tables, by name, columns and rows."""
        self._each("begin", config, resumed)
        for name, (columns, rows) in tables.items():
            self._each("table", name, columns, rows)

    def reopen(self, config: Mapping[str, Any], step: int) -> None:
        """Open what a run has written that came to its end after `step` steps, to add to it."""
        self._each("reopen", config, step)

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """A line of ``metrics.jsonl``; one without a step, as of a solver, gets its epoch for it."""
        self._each("record", kind, {"step": values["epoch"], **values})

    def conclude(
        self,
        result: Mapping[str, Any],
        pictures: Mapping[str, Path],
        artifacts: Mapping[str, Path],
        confusion: tuple[Sequence[int], Sequence[int], Sequence[str]] | None = None,
    ) -> None:
        """What there is at the end: of a result its numbers, and the files that were made.

        Args:
            confusion: true and predicted class of each test image, and the classes' names.
        """
        metrics = {
            key: value
            for key, value in result.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._each("result", metrics)
        for name, path in pictures.items():
            self._each("picture", name, path)
        if confusion:
            self._each("confusion_matrix", *confusion)
        for name, path in artifacts.items():
            self._each("artifact", name, path, ALIASES)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = error.code if isinstance(error, Interrupted) else int(error is not None)
        self._each("finish", code)

    def _each(self, method: str, *values: Any) -> None:
        for one in tuple(self._loggers):
            try:
                getattr(one, method)(*values)
            except Exception as error:
                self._loggers.remove(one)
                reason = (str(error).strip().splitlines() or ["no reason given"])[0]
                logger.warning(
                    "logger=%s is switched off, the run goes on: %s: %s",
                    one.name, type(error).__name__, reason,
                )  # fmt: skip
                if method != "finish":
                    with contextlib.suppress(Exception):
                        one.finish(1)
