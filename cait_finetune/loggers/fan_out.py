"""Combine several loggers into one. A failing logger does not stop the run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from cait_finetune.errors import Interrupted, reason
from cait_finetune.loggers.logger import Confusion, Logger

logger = logging.getLogger(__name__)

#: Aliases of the two artifacts, best checkpoint and export. Each is the best and latest of its run.
ALIASES = ("best", "latest")


class Loggers:
    """Passes every call to each logger, and finishes the loggers at the end of its block.

    A logger that raises an error is removed after one warning, because training matters more than
    its record.
    """

    def __init__(self, loggers: Iterable[Logger] = ()) -> None:
        self._loggers = list(loggers)

    def begin(
        self,
        config: Mapping[str, Any],
        resumed: bool,
        tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[str]]]],
    ) -> None:
        """Pass the facts that are known before the first step.

        Args:
            config: the resolved configuration.
            resumed: whether the run is resumed.
            tables: columns and rows of each table, by its name.
        """
        self._each("begin", config, resumed)
        for name, (columns, rows) in tables.items():
            self._each("table", name, columns, rows)

    def reopen(self, config: Mapping[str, Any], step: int) -> None:
        """Open the records of a run that finished after `step` steps, to add to them."""
        self._each("reopen", config, step)

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """Pass a line of ``metrics.jsonl``.

        A line without a step, which a solver writes, gets its epoch as the step.
        """
        self._each("record", kind, {"step": values["epoch"], **values})

    def conclude(
        self,
        result: Mapping[str, Any],
        pictures: Mapping[str, Path],
        artifacts: Mapping[str, Path],
        confusions: Sequence[Confusion] = (),
    ) -> None:
        """Pass the results of a finished run.

        Args:
            result: content of ``result.json``. The loggers get its numbers only.
            pictures: PNG files, by name.
            artifacts: files or directories to keep, by name.
            confusions: true and predicted classes of the test split, one item per label. Empty: no
                confusion matrix.
        """
        metrics = {
            key: value
            for key, value in result.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._each("result", metrics)
        for name, path in pictures.items():
            self._each("picture", name, path)
        for confusion in confusions:
            self._each("confusion_matrix", confusion)
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
                logger.warning(
                    "logger=%s is switched off, the run continues: %s: %s",
                    one.name, type(error).__name__, reason(error),
                )  # fmt: skip
                if method != "finish":
                    with contextlib.suppress(Exception):
                        one.finish(1)
