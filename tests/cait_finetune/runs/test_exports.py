"""Changes to an export's files are found."""

from __future__ import annotations

import os

import pytest

from cait_finetune.runs.exports import FILES, damaged_file, describe_files


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
