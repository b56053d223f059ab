"""The first line of ``metrics.jsonl`` states the run that wrote it."""

import json

import pytest

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.records import check_records_id, read_records
from cait_finetune.scores.metrics import MetricsLog


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path)
    run.identity.write_text(json.dumps({"run": "id"}))
    return run


@pytest.mark.parametrize("writer", ["id", ""])  # "": an earlier version, which wrote no id
def test_records_of_the_run(run, writer):
    assert read_records(run, "epoch") == []
    log = MetricsLog(run.metrics, run=writer)
    log.write("step", step=1)
    log.write("epoch", epoch=1)
    assert read_records(run, "step") == [{"kind": "step", "step": 1}]
    assert read_records(run, "epoch") == [{"kind": "epoch", "epoch": 1}]


def test_records_of_another_run_are_refused(run):
    MetricsLog(run.metrics, run="other").write("epoch", epoch=1)
    for use in (
        lambda: read_records(run, "epoch", "resume"),
        lambda: check_records_id(run, "resume"),
    ):
        with pytest.raises(UserError) as caught:
            use()
        assert str(caught.value) == (
            f"resume: got {run.metrics} of another run than {run.identity}, expected the files of one "
            "run\n  Restore the run's own files"
        )


def test_a_first_line_that_is_damaged_states_no_run(run):
    run.metrics.write_bytes(b"\0" * 20 + b"\n")
    check_records_id(run, "resume")
    with pytest.raises(UserError, match="remove the other lines"):
        read_records(run, "epoch")
