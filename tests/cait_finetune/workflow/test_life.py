"""An error of the system in a run becomes one message that says how to continue."""

from __future__ import annotations

import errno

import pytest
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.workflow.life import life
from tests.cait_finetune.stand_ins import checked

FULL = "/cache/xla_compile_cache__1.pb.tmp; No space left on device\n\t [[{{node x}}]]"


def ended(run, error):
    with life(checked(), run):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/cache/xla_compile_cache__1.pb.tmp"),
        tf.errors.ResourceExhaustedError(None, None, FULL),
    ],
)
def test_a_full_disk_names_the_file(tmp_path, error):
    run = RunDirectory(tmp_path / "run")
    first = "/cache/xla_compile_cache__1.pb.tmp: got No space left on device, expected enough space"
    with pytest.raises(UserError) as caught:
        ended(run, error)
    assert str(caught.value).startswith(first)
    assert "resume" not in str(caught.value)
    run.config.touch()
    with pytest.raises(UserError, match=f"Then continue with resume={run.root}"):
        ended(run, error)


@pytest.mark.parametrize("error", [OSError("odd"), tf.errors.InternalError(None, None, "odd")])
def test_other_errors_stay(tmp_path, error):
    with pytest.raises(type(error), match="odd"):
        ended(RunDirectory(tmp_path / "run"), error)
