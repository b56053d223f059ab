"""Test with the real wandb library: offline with its files, online with a stand-in service."""

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cait_finetune.config import WandbConfig
from cait_finetune.loggers.logger import Confusion
from cait_finetune.loggers.wandb_run import WandbRun
from tests.cait_finetune.loggers import wandb_files
from tests.cait_finetune.loggers.wandb_stand_in import KEY, running


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def service(monkeypatch):
    with running() as one:
        monkeypatch.setenv("WANDB_BASE_URL", one.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        _forget_the_session()
        yield one
    monkeypatch.undo()
    _forget_the_session()


def _forget_the_session():
    """Make wandb read the environment again. It reads the environment only once per process."""
    import wandb

    wandb.teardown()


class Run:
    """A logger in `root`, with its console output."""

    def __init__(self, root, **config):
        values = {"enabled": True, "project": "tests", **config}
        self.output = io.StringIO()
        console = Console(file=self.output, width=60)
        self.root = root
        self.logger = WandbRun(WandbConfig(**values), root, console)

    def begin(self, resumed=False):
        self.logger.begin({"train": {"batch_size": 64}, "seed": 3}, resumed)
        return self.logger

    @property
    def said(self):
        return self.output.getvalue()


def step(number, epoch=1, **values):
    return "step", {"step": number, "epoch": epoch, "loss": 1 / number, **values}


def epoch(number, at):
    return "epoch", {"step": at, "epoch": number, "validation_top1": number / 10}


@pytest.mark.slow
def test_without_an_api_key_the_run_is_offline_and_prints_the_sync_command(tmp_path):
    run = Run(tmp_path)
    logger = run.begin()
    logger.record(*step(1))
    logger.finish(0)
    (line,) = run.said.splitlines()
    assert line.startswith("wandb  offline, as no key was found (wandb login); to upload it: ")
    (directory,) = tmp_path.glob("wandb/offline-run-*")
    assert line.endswith(f"wandb sync {directory}")


def test_the_offline_file_holds_every_logged_value(tmp_path):
    picture = tmp_path / "curves.png"
    Image.new("RGB", (12, 8)).save(picture)
    model = tmp_path / "export"
    (model / "inside").mkdir(parents=True)
    (model / "inside" / "weights").write_text("x")
    run = Run(tmp_path, mode="offline", name="mine", group="ours", tags=["a", "b"], entity="them")
    logger = run.begin()
    logger.table("parameters", ["path", "group"], [["head/bias", "3"], ["head/kernel", "3"]])
    logger.record(*step(5, **{"lr/group_00": 0.5}))
    logger.record(*step(8))
    logger.record(*epoch(1, at=8))
    logger.result({"test_top1": 0.75})
    logger.picture("curves", picture)
    logger.confusion_matrix(Confusion([0, 1, 1], [0, 1, 0], ["cat", "dog"]))
    logger.artifact("export", model, ["best", "latest"])
    logger.artifact("checkpoint", picture, ["best"])
    logger.finish(0)

    (description,) = wandb_files.runs(tmp_path)
    assert (description.project, description.entity) == ("tests", "them")
    assert (description.display_name, description.run_group) == ("mine", "ours")
    assert list(description.tags) == ["a", "b"]
    config = {one.key: json.loads(one.value_json) for one in description.config.update}
    assert (config["train"], config["seed"]) == ({"batch_size": 64}, 3)

    first, second, third = wandb_files.history(tmp_path)
    assert (first["parameters._type"], first["parameters.nrows"]) == ("table-file", 2)
    (table,) = tmp_path.glob("wandb/*run-*/files/media/table/parameters*.json")
    assert json.loads(table.read_text()) == {
        "columns": ["path", "group"], "data": [["head/bias", "3"], ["head/kernel", "3"]]
    }  # fmt: skip
    assert second == {"step": 5, "epoch": 1, "loss": 0.2, "lr/group_00": 0.5}
    assert third["loss"] == 1 / 8
    assert third["validation_top1"] == 0.1
    assert wandb_files.steps(tmp_path) == [0, 5, 8]
    assert (third["pictures/curves.width"], third["pictures/curves.height"]) == (12, 8)
    (image,) = tmp_path.glob("wandb/*run-*/files/media/images/pictures/*.png")
    assert np.asarray(Image.open(image)).shape == (8, 12, 3)
    (chart,) = tmp_path.glob("wandb/*run-*/files/media/table/confusion_matrix*.json")
    counts = {tuple(row[:2]): row[2] for row in json.loads(chart.read_text())["data"]}
    assert counts == {("cat", "cat"): 1, ("cat", "dog"): 0, ("dog", "cat"): 1, ("dog", "dog"): 1}
    assert wandb_files.summary(tmp_path)["test_top1"] == 0.75

    run_id = json.loads((tmp_path / "wandb.json").read_text())["id"]
    models = {one.name: one for one in wandb_files.artifacts(tmp_path) if one.type == "model"}
    assert set(models) == {f"export-{run_id}", f"checkpoint-{run_id}"}
    export = models[f"export-{run_id}"]
    assert sorted(export.aliases) == ["best", "latest"]
    (content,) = export.manifest.contents
    assert (content.path, content.local_path) == ("inside/weights", str(model / "inside/weights"))
    assert wandb_files.exit_codes(tmp_path) == [0]
    metric = next(one.metric for one in wandb_files.records(tmp_path) if one.HasField("metric"))
    assert (metric.glob_name, metric.step_metric) == ("*", "step")


def test_a_run_is_named_for_its_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_ENTITY", "them")
    _forget_the_session()
    root = tmp_path / "digits" / "cait_nano_32" / "now"
    root.mkdir(parents=True)
    run = Run(root, mode="offline", log_model=False)
    logger = run.begin()
    logger.artifact("export", root, ["best"])
    logger.finish(7)
    (description,) = wandb_files.runs(root)
    assert description.display_name == "digits/cait_nano_32/now"
    assert description.entity == "them"  # the configuration names no entity
    assert wandb_files.artifacts(root) == []  # because log_model=False
    assert wandb_files.exit_codes(root) == [7]


def test_a_run_that_goes_on_is_the_same_run_and_has_each_row_once(tmp_path):
    records = [step(1), step(2), epoch(1, at=2), step(3, epoch=2), step(4, epoch=2), epoch(2, at=4)]
    first = Run(tmp_path, mode="offline").begin()
    first.table("parameters", ["path"], [["head/bias"]])
    for record in records[:4]:
        first.record(*record)
    first.finish(75)
    second = Run(tmp_path, mode="offline")
    logger = second.begin(resumed=True)
    logger.table("parameters", ["path"], [["head/bias"]])
    for record in records[:2]:  # replayed from metrics.jsonl
        logger.record(*record)
    for record in records[2:]:  # repeated after the resume
        logger.record(*record)
    logger.finish(0)

    one, other = wandb_files.runs(tmp_path)
    assert one.run_id == other.run_id
    assert wandb_files.exit_codes(tmp_path) == [75, 0]
    rows = wandb_files.history(tmp_path)
    assert sum("parameters._type" in row for row in rows) == 1
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    assert [row["epoch"] for row in rows if "validation_top1" in row] == [1, 2]
    assert f"wandb sync {tmp_path}/wandb/offline-run-*-{one.run_id}*" in second.said


def test_an_epoch_that_was_cut_off_is_there_whole(tmp_path):
    """A run that stops within an epoch logs a row. The resumed run logs the whole epoch later."""
    first = Run(tmp_path, mode="offline").begin()
    rows = [step(1), epoch(1, at=1)]
    for record in rows:
        first.record(*record)
    first.finish(75)
    second = Run(tmp_path, mode="offline").begin(resumed=True)
    for record in [*rows, step(2), epoch(1, at=2), epoch(1, at=2)]:
        second.record(*record)
    second.finish(0)
    logged = wandb_files.history(tmp_path)
    at = [(row["epoch"], row["step"]) for row in logged if "validation_top1" in row]
    assert at == [(1, 1), (1, 2)]


@pytest.mark.slow
def test_another_run_in_the_same_place_is_another_run(tmp_path):
    for resumed in (False, False, True):
        logger = Run(tmp_path, mode="offline").begin(resumed)
        logger.record(*step(1))
        logger.finish(0)
    ids = sorted(one.run_id for one in wandb_files.runs(tmp_path))
    assert len(set(ids)) == 2
    assert ids.count(json.loads((tmp_path / "wandb.json").read_text())["id"]) == 2
    assert len(wandb_files.history(tmp_path)) == 2


def test_a_logger_that_joins_later_gets_everything(tmp_path):
    logger = Run(tmp_path, mode="offline").begin(resumed=True)
    logger.record(*step(1))
    logger.finish(0)
    assert [row["step"] for row in wandb_files.history(tmp_path)] == [1]


def test_the_environment_chooses_where_the_configuration_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    run = Run(tmp_path)
    logger = run.begin()
    logger.record(*step(1))
    logger.finish(0)
    assert run.said == ""
    assert not list(tmp_path.glob("wandb/*run*"))


def test_disabled_leaves_nothing(tmp_path):
    run = Run(tmp_path, mode="disabled")
    logger = run.begin()
    logger.record(*step(1))
    logger.artifact("checkpoint", Path(__file__), ["best"])
    logger.finish(0)
    assert run.said == ""
    assert not list(tmp_path.glob("wandb/*run*"))


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_online_where_the_service_answers(tmp_path, service, mode):
    run = Run(tmp_path, mode=mode)
    logger = run.begin()
    logger.record(*step(1))
    logger.record(*step(2))
    logger.record(*epoch(1, at=2))
    logger.artifact("checkpoint", Path(__file__), ["best", "latest"])
    logger.finish(0)
    run_id = json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert run.said == f"wandb  {service.url}/me/tests/runs/{run_id}\n"
    assert [row["loss"] for row in service.rows[run_id]] == [1, 0.5]
    assert service.rows[run_id][1]["validation_top1"] == 0.1
    assert service.exit_codes == [0]
    (artifact,) = service.artifacts
    assert artifact["artifactCollectionName"] == f"checkpoint-{run_id}"
    assert {one["alias"] for one in artifact["aliases"]} == {"best", "latest"}


def test_online_a_run_goes_on_with_the_same_id(tmp_path, service):
    first = Run(tmp_path).begin()
    for number in (1, 2, 3):
        first.record(*step(number))
    first.finish(75)
    second = Run(tmp_path).begin(resumed=True)
    for record in (step(2), step(3), epoch(1, at=3), step(4)):
        second.record(*record)
    second.finish(0)
    ((run_id, rows),) = service.rows.items()
    assert run_id == json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert [row["loss"] for row in rows if "loss" in row] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert [row["validation_top1"] for row in rows if "validation_top1" in row] == [0.1]
    assert service.exit_codes == [75, 0]


def test_a_wrong_key_is_one_warning_and_offline(tmp_path, service, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "b" * 40)
    _forget_the_session()
    run = Run(tmp_path)
    logger = run.begin()
    logger.record(*step(1))
    logger.finish(0)
    (line,) = run.said.splitlines()
    assert line.startswith(
        f"wandb  offline, as {service.url} does not accept the key (wandb login --relogin); to upload"
    )
    assert [row["step"] for row in wandb_files.history(tmp_path)] == [1]
    assert service.rows == {}


def test_online_without_a_key_asks_for_none(tmp_path):
    run = Run(tmp_path, mode="online")
    run.begin().finish(0)
    assert run.said.startswith("wandb  offline, as no key was found (wandb login); to upload it: ")


def test_a_service_that_is_not_there_is_offline(tmp_path, service):
    service.shutdown()
    service.server_close()
    run = Run(tmp_path)
    logger = run.begin()
    logger.record(*step(1))
    logger.finish(0)
    (line,) = run.said.splitlines()
    assert line.startswith(
        f"wandb  offline, as {service.url} does not answer (ConnectionError); to"
    )
    assert [row["step"] for row in wandb_files.history(tmp_path)] == [1]


def test_a_run_that_the_service_does_not_take_is_offline(tmp_path, service):
    service.refusal = "permission denied"
    run = Run(tmp_path, entity="others")
    logger = run.begin()
    logger.record(*step(1))
    logger.finish(0)
    (line,) = run.said.splitlines()
    assert line.startswith("wandb  offline, as ")
    assert "permission denied" in line
    (directory,) = tmp_path.glob("wandb/offline-run-*")
    assert line.endswith(f"wandb sync {directory}")
    assert [row["step"] for row in wandb_files.history(tmp_path)] == [1]


@pytest.mark.slow
def test_a_service_that_goes_away_keeps_everything_for_later(tmp_path, service):
    run = Run(tmp_path, finish_timeout=1.0)
    logger = run.begin()
    logger.record(*step(1))
    service.go_away()
    for number in (2, 3):
        logger.record(*step(number))
    logger.artifact("checkpoint", Path(__file__), ["best"])
    logger.finish(0)
    opened, artifact, waiting, kept = run.said.splitlines()
    assert opened.startswith(f"wandb  {service.url}")
    gone = f"wandb  {service.url} does not answer (ConnectionError); "
    assert artifact == f"{gone}the checkpoint is not uploaded, but kept: {__file__}"
    assert waiting == f"{gone}waiting for it (logger.wandb.finish_timeout=1 s)"
    assert "not everything was uploaded within logger.wandb.finish_timeout=1 s, but is" in kept
    (directory,) = tmp_path.glob("wandb/run-*")
    assert kept.endswith(f"wandb sync {directory}")
    assert [row["step"] for row in wandb_files.history(tmp_path)] == [1, 2, 3]


@pytest.mark.slow
def test_the_printed_sync_command_uploads_offline_runs(tmp_path, service):
    first = Run(tmp_path, mode="offline")
    logger = first.begin()
    logger.record(*step(1))
    logger.finish(75)
    second = Run(tmp_path, mode="offline")
    logger = second.begin(resumed=True)
    logger.record(*step(2))
    logger.finish(0)
    command = second.said.strip().partition("to upload it: ")[2]
    _, word, pattern = shlex.split(command)
    parts = sorted(map(str, Path("/").glob(pattern.lstrip("/"))))
    assert (word, len(parts)) == ("sync", 2)
    done = subprocess.run([sys.executable, "-m", "wandb", "sync", *parts], capture_output=True,
                          text=True, check=False, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (rows,) = service.rows.values()
    assert [row["step"] for row in rows] == [1, 2]
