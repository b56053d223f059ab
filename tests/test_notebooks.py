"""The notebooks run from top to bottom, offline."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "recipes" / "notebooks").glob("*.ipynb"))


def test_the_project_has_two_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["classification", "finetune"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_offline_and_is_online_by_default(path, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == "OFFLINE = False"
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs"
    first.source = "OFFLINE = True"
    if path.stem == "finetune":  # two steps instead of two epochs
        (cell,) = (cell for cell in notebook.cells if '"train.epochs=2"' in cell.source)
        cell.source = cell.source.replace('"train.epochs=2"', '"debug=fast_dev_run"')
    client.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert not any(out.output_type == "error" for out in outputs)
