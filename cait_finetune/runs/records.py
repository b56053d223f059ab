"""The records in a run's ``metrics.jsonl``."""

from __future__ import annotations

from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.run_id import check_run_id
from cait_finetune.scores.metrics import MetricsLog


def read_records(run: RunDirectory, kind: str, key: str = "run") -> list[dict]:
    """Return the run's records in order. Empty: nothing was recorded yet.

    Args:
        kind: ``step`` or ``epoch``.
        key: the key at the start of a message.

    Raises:
        UserError: the file is damaged or belongs to another run.
    """
    check_records_id(run, key)
    return MetricsLog(run.metrics).read(kind)


def check_records_id(run: RunDirectory, key: str) -> None:
    """Check that the records belong to the run. Only the first line is read.

    Args:
        key: the key at the start of a message.

    Raises:
        UserError: they belong to another run, or ``identity.json`` cannot be read.
    """
    check_run_id(run, key, str(run.metrics), MetricsLog(run.metrics).run)
