"""The provenance of a SavedModel has the hashes of its files."""

import pytest

from cait_finetune.runs.provenance import (
    Provenance,
    add_to_directory,
    read_provenance,
    replaced_file,
)


@pytest.fixture
def saved_model(tmp_path):
    (tmp_path / "variables").mkdir()
    for name in ("saved_model.pb", "variables/variables.index"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_the_files_as_they_were_exported(saved_model):
    add_to_directory(Provenance({}, ("a",)), saved_model)
    found = read_provenance(saved_model)
    assert list(found.files) == ["saved_model.pb", "variables/variables.index"]
    assert replaced_file(found, saved_model) is None
    (saved_model / "README.md").write_text("a page that was added")
    assert replaced_file(found, saved_model) is None


@pytest.mark.parametrize("harm", ["other", "missing"])
def test_a_file_of_another_saved_model(saved_model, harm):
    add_to_directory(Provenance({}, ("a",)), saved_model)
    path = saved_model / "variables/variables.index"
    path.write_text("other") if harm == "other" else path.unlink()
    assert replaced_file(read_provenance(saved_model), saved_model) == "variables/variables.index"


def test_an_export_without_hashes_passes(saved_model):
    assert replaced_file(None, saved_model) is None
    assert replaced_file(Provenance({}, ("a",)), saved_model) is None
