"""The run id distinguishes the files of two runs on the same data."""

import json

import pytest

import cait_tf
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.run_id import check_weights_id, new_run_id, run_id
from tests.cait_finetune.tiny import tiny_model


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path)
    run.identity.write_text(json.dumps({"run": "id"}))
    return run


def test_every_run_has_an_id_of_its_own_whatever_the_seed(run):
    assert new_run_id() != new_run_id()
    assert run_id(run) == "id"


@pytest.mark.parametrize(
    ("identity", "metadata", "passes"),
    [
        ({"run": "id"}, {"run": "id"}, True),
        ({"run": "id"}, {"run": "other"}, False),
        ({}, {"run": "other"}, False),  # only the run is of an earlier version
        ({}, {}, True),
        (None, {"run": "other"}, True),  # only config.yaml and the weights were copied
    ],
)
def test_weights_of_another_run_are_refused(run, identity, metadata, passes):
    run.identity.unlink()
    if identity is not None:
        run.identity.write_text(json.dumps(identity))
    cait_tf.save_weights(tiny_model(2), run.best_checkpoint, metadata)
    if passes:
        check_weights_id(run, "resume", run.last_checkpoint, run.best_checkpoint)
        return
    with pytest.raises(UserError) as caught:
        check_weights_id(run, "resume", run.last_checkpoint, run.best_checkpoint)
    assert str(caught.value) == (
        f"resume: got {run.best_checkpoint} of another run than {run.identity}, expected the files "
        "of one run\n  Restore the run's own files"
    )


def test_weights_that_do_not_state_their_run_are_refused(run):
    """Another program may have written them, in another order of classes."""
    cait_tf.save_weights(tiny_model(2), run.best_checkpoint)
    with pytest.raises(UserError) as caught:
        check_weights_id(run, "run", run.best_checkpoint)
    assert str(caught.value) == (
        f"run: got {run.best_checkpoint}, which does not state its run, expected the weights that the "
        "run saved\n  Restore the run's own file, or give this one as model.weights"
    )


def test_missing_and_damaged_weights_pass(run):
    check_weights_id(run, "run", run.best_checkpoint)
    run.best_checkpoint.parent.mkdir()
    run.best_checkpoint.write_bytes(b"damaged")
    check_weights_id(run, "run", run.best_checkpoint)


@pytest.mark.parametrize("damage", ["{", "[]", "null"])
def test_an_identity_that_cannot_be_read(run, damage):
    run.identity.write_text(damage)
    with pytest.raises(UserError, match=r"identity\.json: got .*\n  Restore the file"):
        run_id(run)
