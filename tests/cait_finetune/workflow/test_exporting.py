"""The recorded exports of a run."""

import json

import pytest

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.workflow.exporting import read_exports


def test_exports_are_known_as_long_as_their_files_are_there(tmp_path):
    run = RunDirectory(tmp_path)
    assert read_exports(run) == {}
    (run.export / "onnx").mkdir(parents=True)
    (run.export / "exports.json").write_text('{"onnx": {"path": "a"}, "keras": {"path": "b"}}')
    assert read_exports(run) == {"onnx": {"path": "a"}}


def test_paths_of_earlier_versions_are_relative_now(tmp_path):
    run = RunDirectory(tmp_path / "export" / "run")
    (run.export / "litert").mkdir(parents=True)
    stated, wanted = (
        {
            "litert": {
                "path": f"{root}export/litert/model.tflite",
                "serving": f"{root}export/serving",
                "variants": {"int8": {"path": f"{root}export/litert/int8.tflite", "images": 3}},
            }
        }
        for root in ("/home/me/export/run/", "")
    )
    for record in (stated, wanted):
        (run.export / "exports.json").write_text(json.dumps(record))
        assert read_exports(run) == wanted


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_list_of_exports_that_cannot_be_read(tmp_path, text):
    run = RunDirectory(tmp_path)
    run.export.mkdir()
    (run.export / "exports.json").write_text(text)
    with pytest.raises(UserError, match=r"exports\.json: got .*, expected JSON(.|\n)*remove it"):
        read_exports(run)
