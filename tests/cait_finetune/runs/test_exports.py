"""Changes to an export's files are found."""

from __future__ import annotations

import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.exports import FILES, current_result, damaged_file, describe_files


@pytest.fixture
def export(tmp_path):
    """Return the directory of a SavedModel with hard links to its files, and the files' record."""
    for name in ("saved_model.pb", "variables/variables.data"):
        path, link = tmp_path / "saved_model" / name, tmp_path / "serving/1" / name
        for one in (path, link):
            one.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.link(path, link)
    return tmp_path, {FILES: describe_files(tmp_path, ["saved_model", "serving"])}


def test_whole_files_are_whole(export):
    folder, record = export
    assert list(record[FILES]) == [
        "saved_model/saved_model.pb",
        "saved_model/variables/variables.data",
        "serving/1/saved_model.pb",
        "serving/1/variables/variables.data",
    ]
    assert damaged_file(folder, record) is None
    assert damaged_file(folder, {"path": "export/saved_model"}) is None  # an older record


def test_a_missing_a_shortened_and_a_changed_file_are_named(export):
    folder, record = export
    name = "saved_model/variables/variables.data"
    (folder / name).write_bytes(b"variables/variables.dat_")
    assert damaged_file(folder, record) == name
    (folder / name).write_bytes(b"")
    assert damaged_file(folder, record) == name
    (folder / name).unlink()
    assert damaged_file(folder, record) == name


def test_a_result_of_other_weights_is_not_current(tmp_path):
    run = RunDirectory(tmp_path)
    assert current_result(run) == {}
    run.write_result({"test_top1": 0.5})  # an earlier version, or no weights to compare with
    assert current_result(run) == {"test_top1": 0.5}
    run.checkpoints.mkdir()
    save_file({"a": np.zeros(1)}, run.best_checkpoint, {"cait_tf.sha256": "now"})
    for scored, current in (("now", True), ("before", False), (None, True)):
        run.write_result({"test_top1": 0.5, "weights_sha256": scored})
        assert bool(current_result(run)) is current
