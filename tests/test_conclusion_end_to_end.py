"""The stages after training: refused, interrupted in a logger, and resumed."""

from __future__ import annotations

import json
import shutil
import signal
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cait_finetune.cli.compose import configure
from cait_finetune.commands import export as export_command
from cait_finetune.errors import Interrupted, UserError
from cait_finetune.loggers.tensorboard import TensorBoard
from cait_finetune.report import page
from cait_finetune.workflow import exporting
from cait_finetune.workflow import finetune as workflow
from tests.cait_finetune.stand_ins import checked
from tests.small_model import WORDS, small_model  # noqa: F401  the fixture is for all tests

pytestmark = pytest.mark.slow

SHORT = ["logger=[tensorboard,csv]", "model.image_size=8", "train.epochs=null", "train.steps=4",
         "train.batch_size=32", "export=[saved_model,timm]", "export.check_images=4",
         "augment=none", *WORDS]  # fmt: skip


def tags(run) -> set[str]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    return set(events.Tags()["tensors"])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return [*SHORT, f"dataset.data_dir={tmp_path_factory.mktemp('data')}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, words):
    """A run with one refused export out of two, and the error message."""
    run = tmp_path_factory.mktemp("refused") / "run"
    exporter = exporting.exporter

    def refuse(*_):
        raise UserError("export: got weights for timm with another top-1")

    def chosen(name, config):
        return refuse if name == "timm" else exporter(name, config)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exporting, "exporter", chosen)
        with pytest.raises(UserError) as error:
            workflow.finetune(checked(*words), run)
    return run, str(error.value)


@pytest.fixture
def refused(made, tmp_path):
    """A copy of the run of `made` for each test, and the error message."""
    run, message = made
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run", message


def test_a_refused_export_keeps_nothing_else_from_being_made(refused):
    run, message = refused
    assert message == "export: got weights for timm with another top-1"
    result = json.loads((run / "result.json").read_text())
    assert "finished" not in result
    assert result["exports"].keys() == {"saved_model"}
    assert (run / "report.html").is_file()
    assert (run / "export" / "README.md").is_file()
    assert {"result/test_top1", "pictures/curves", "step/loss"} <= tags(run)


def test_resume_makes_what_is_missing_and_no_more(refused, words):
    run, _ = refused
    before = (run / "export" / "saved_model" / "saved_model.pb").stat().st_mtime_ns
    predicted = (run / "predictions" / "test.npz").stat().st_mtime_ns
    result = workflow.finetune(checked(*words, f"resume={run}"), run)
    assert result["finished"]
    assert result["exports"].keys() == {"saved_model", "timm"}
    assert (run / "export" / "saved_model" / "saved_model.pb").stat().st_mtime_ns == before
    assert (run / "predictions" / "test.npz").stat().st_mtime_ns == predicted
    assert json.loads((run / "result.json").read_text()) == result

    with pytest.raises(UserError, match="whose run is finished"):
        configure(f"resume={run}")
    variables = run / "export/saved_model/variables/variables.data-00000-of-00001"
    whole, timm = variables.read_bytes(), (run / "export/timm/model.safetensors").stat()
    variables.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert workflow.finetune(configure(f"resume={run}"), run)["finished"]
    assert variables.read_bytes() == whole
    assert (run / "export/timm/model.safetensors").stat().st_mtime_ns == timm.st_mtime_ns


def test_a_later_export_reaches_the_report_and_the_loggers(refused, monkeypatch):
    run, _ = refused
    written = []
    monkeypatch.setattr(page, "write_text", lambda path, text: written.append((path, text)))
    shown = []
    monkeypatch.setattr(TensorBoard, "result", lambda self, metrics: shown.append(metrics))
    events = len(list((run / "tensorboard").iterdir()))
    monkeypatch.setattr(
        sys, "argv", ["export", f"run={run}", "export=keras", "export.check_images=4"]
    )
    export_command.main()
    assert [path for path, _ in written] == [run / "report.html"]
    assert "keras" in written[0][1]
    assert len(shown) == 1
    assert len(list((run / "tensorboard").iterdir())) == events + 1
    result = json.loads((run / "result.json").read_text())
    assert result["exports"].keys() == {"saved_model", "keras"}


@pytest.mark.parametrize(
    ("method", "number"), [("picture", signal.SIGTERM), ("finish", signal.SIGHUP)]
)
def test_a_signal_inside_a_loggers_method_ends_the_run(method, number, refused, words, monkeypatch):
    run, _ = refused
    shutil.rmtree(run / "tensorboard")
    inside = getattr(TensorBoard, method)

    def signalled(self, *values):
        signal.raise_signal(number)
        inside(self, *values)

    again = [*words, "export=none", f"resume={run}"]
    with monkeypatch.context() as patched:
        patched.setattr(TensorBoard, method, signalled)
        with pytest.raises(
            Interrupted, match=f"{number.name}: the state is saved; continue with resume"
        ):
            workflow.finetune(checked(*again), run)
    assert "finished" not in json.loads((run / "result.json").read_text())
    assert workflow.finetune(checked(*again), run)["finished"]
    assert {"result/test_top1", "pictures/curves"} <= tags(run)
