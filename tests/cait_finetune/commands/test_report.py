"""The report of a finished run, of an interrupted run, and of a run whose images are gone."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from cait_finetune import model as models
from cait_finetune.commands import report as report_run
from cait_finetune.errors import UserError
from cait_finetune.loggers.fan_out import Loggers
from cait_finetune.report.page import write_page
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.exports import weights_mark
from cait_finetune.scores.evaluation import Evaluator
from cait_finetune.scores.predictions import load_predictions
from cait_finetune.workflow.finetune import finish
from cait_finetune.workflow.setup import prepare
from tests.cait_finetune.runs.test_html import Reader
from tests.cait_finetune.stand_ins import checked

NASTY = "<b>&\"'$x^2$"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Write noise images of three classes. One class name contains HTML and TeX characters."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 6), ("test", 8)):
        for name in (NASTY, "cat", "a long name of a class " * 5):
            folder = root / split / name.strip()
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(0, 256, (20, 20, 3), dtype="uint8")
                Image.fromarray(noise).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def config(images):
    return checked("dataset=folder", f"dataset.data_dir={images}", "model.image_size=16", "export=none",
                   "train.batch_size=4", "train.eval_batch_size=16", "distribution=cpu")  # fmt: skip


@pytest.fixture(scope="module")
def cut_off(config, tmp_path_factory):
    """Return a run that was interrupted after its first epoch. Its weights are random."""
    root = tmp_path_factory.mktemp("runs") / "cut_off"
    prepared = prepare(config, root)
    for variable in prepared.plan.model.weights:
        variable.assign(0.1 * np.random.default_rng(0).normal(size=variable.shape))
    prepared.logbook.checkpoints.save(prepared.plan.model, prepared.run.best_checkpoint, 1)
    for step in (1, 2, 3):
        prepared.logbook.metrics.write("step", step=step, loss=1.1, accuracy=0.3, learning_rate=1e-3,
                               images_per_second=90.0, data_wait_share=0.1)  # fmt: skip
    prepared.logbook.metrics.write("epoch", epoch=1, train_loss=1.2, train_accuracy=0.3, validation_loss=1.1,
                           validation_top1=0.4)  # fmt: skip
    return prepared


@pytest.fixture(scope="module")
def finished(config, cut_off, tmp_path_factory):
    """Finish a copy of the interrupted run; return the run, its model and its result."""
    prepared = prepare(config, tmp_path_factory.mktemp("finished") / "run")
    for name in ("checkpoints", "identity.json", "metrics.jsonl"):
        old, new = cut_off.run.root / name, prepared.run.root / name
        if old.is_dir():
            shutil.copytree(old, new, dirs_exist_ok=True)
        else:
            shutil.copy(old, new)
    identity = json.loads(prepared.run.identity.read_text())
    identity["directory"] = str(prepared.run.root)  # the copy stands for the run itself
    prepared.run.identity.write_text(json.dumps(identity))
    model = models.from_checkpoint(
        config.model, config.head, prepared.source.class_names, prepared.run.best_checkpoint
    )
    finish(config, prepared, model, 0.0, Loggers())
    return prepared, model, prepared.run.read_result()


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        report_run.main()
        return capsys.readouterr().out

    return call


def titles(page):
    text = page.read_text(encoding="utf-8")
    return [part.partition("</h2>")[0] for part in text.split("<h2>")[1:]]


@pytest.mark.slow
def test_the_report_of_a_finished_run_has_every_section(finished):
    prepared, model, result = finished
    run = prepared.run
    assert titles(run.report) == [
        "Scores", "Curves", "Classes", "Confusion", "Calibration", "Mistakes", "Speed and memory",
        "Parameters", "Configuration", "Environment", "Make it again",
    ]  # fmt: skip
    text = run.report.read_text()
    assert "Not everything is here" not in text
    read = Reader(text)
    assert "script" not in read.tags
    assert NASTY in "".join(read.text)
    assert text.count("data:image/png;base64,") == 5
    assert f"{result['test_top1']:.2%}" in text
    assert json.loads(run.result.read_text()) == result
    of_the_model = Evaluator(model)(prepared.streams.images_of("test"))
    assert {name: result[f"test_{name}"] for name in of_the_model.as_metrics()} == (
        of_the_model.as_metrics()
    )
    assert {path.name for path in run.parts.iterdir()} == {
        "scores.json", "classes.csv", "confusion.csv", "confusion.png", "reliability.csv",
        "reliability.png", "mistakes.csv", "mistakes.png", "speed.png",
    }  # fmt: skip


@pytest.mark.slow
def test_a_second_report_is_identical(finished, command):
    run = finished[0].run
    before = {path.name: path.read_bytes() for path in run.parts.iterdir()}
    page = run.report.read_text()
    assert command(f"run={run.root}").strip() == f"report {run.report}"
    assert {path.name: path.read_bytes() for path in run.parts.iterdir()} == before
    assert run.report.read_text() == page


@pytest.mark.slow
def test_without_its_images_a_finished_run_keeps_its_scores(finished, images, command):
    run = finished[0].run
    (run.parts / "mistakes.png").unlink()
    (run.parts / "confusion.png").unlink()
    away = images.with_name("away")
    images.rename(away)
    try:
        said = command(f"run={run.root}")
    finally:
        away.rename(images)
    assert "dataset.data_dir: got" in said
    assert "Confusion" in titles(run.report)
    assert "The images were not found here" in run.report.read_text()
    assert not (run.parts / "mistakes.png").exists()
    command(f"run={run.root}")
    assert (run.parts / "mistakes.png").exists()


@pytest.mark.slow
def test_the_report_scores_an_unfinished_run_and_marks_it_unfinished(cut_off, command):
    run = cut_off.run
    command(f"run={run.root}")
    text = run.report.read_text()
    assert "the run is not finished" in text
    assert "Calibration" in titles(run.report)
    assert "unfinished" in text
    assert not run.predictions.exists()  # later epochs may give better weights
    assert not run.result.exists()


@pytest.mark.slow
def test_before_the_first_epoch_the_report_omits_the_score_sections(config, command, tmp_path):
    prepared = prepare(config, tmp_path / "run")
    for step in (1, 2):
        prepared.logbook.metrics.write("step", step=step, loss=1.0, accuracy=0.5, learning_rate=1e-3,
                               images_per_second=9.0, data_wait_share=0.1)  # fmt: skip
    said = command(f"run={tmp_path / 'run'}")
    assert "no epoch has ended yet: there are no weights to score" in said
    assert "not in the report: Scores, Classes, Confusion, Calibration, Mistakes" in said
    assert titles(prepared.run.report) == [
        "Curves", "Speed and memory", "Parameters", "Configuration", "Environment", "Make it again",
    ]  # fmt: skip


@pytest.fixture
def copy(finished, tmp_path):
    """Copy the finished run, so that a test may damage it."""
    shutil.copytree(finished[0].run.root, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.mark.slow
def test_without_its_weights_a_finished_run_keeps_its_scores(copy, command):
    scores = (copy.parts / "scores.json").read_text()
    shutil.rmtree(copy.checkpoints)
    shutil.rmtree(copy.parts)
    said = command(f"run={copy.root}")
    assert "best.safetensors is not there" in said
    assert "no epoch has ended" not in said
    assert "not in the report" not in said
    assert (copy.parts / "scores.json").read_text() == scores


@pytest.mark.slow
def test_with_damaged_predictions_it_is_scored_again(copy, command):
    scores = (copy.parts / "scores.json").read_text()
    (copy.parts / "scores.json").unlink()
    copy.predictions_of("test").write_bytes(b"PK")
    said = command(f"run={copy.root}")
    assert "predictions: got" in said
    assert "not in the report" not in said
    assert (copy.parts / "scores.json").read_text() == scores


def scored(run):
    return json.loads((run.parts / "scores.json").read_text())


def spoil(run, weights):
    """Make all stored predictions wrong, and record `weights` as the weights that made them."""
    for split in ("validation", "test"):
        one = load_predictions(run.predictions_of(split))
        wrong = -np.eye(one.logits.shape[1], dtype="float32")[one.labels]
        dataclasses.replace(one, logits=wrong, weights=weights).save(run.predictions_of(split))


@pytest.mark.slow
def test_predictions_record_the_mark_of_their_weights(finished):
    run = finished[0].run
    for split in ("validation", "test"):
        mark = weights_mark(run.best_checkpoint)
        assert mark == load_predictions(run.predictions_of(split)).weights


@pytest.mark.slow
def test_predictions_of_other_weights_are_not_taken_for_these(copy, command):
    before = scored(copy)
    spoil(copy, "of others")
    said = command(f"run={copy.root}")
    assert f"made by other weights than {copy.best_checkpoint}; the command predicted again" in said
    assert scored(copy) == before


@pytest.mark.slow
def test_predictions_of_an_earlier_version_are_made_anew_where_that_can_be(copy, images, command):
    before = scored(copy)
    spoil(copy, None)
    command(f"run={copy.root}")
    assert scored(copy) == before
    away = images.with_name("away")
    images.rename(away)
    try:
        command(f"run={copy.root}")  # without images, only stored predictions remain
    finally:
        away.rename(images)
    assert scored(copy)["test"]["top1"] == 0.0


@pytest.mark.slow
def test_files_that_cannot_be_read_are_named_once(copy, command):
    copy.result.write_text("")
    copy.environment.write_text("[{")
    said = command(f"run={copy.root}")
    assert said.count("result.json: got") == said.count("environment.json: got") == 1
    assert "not in the report: Speed and memory, Environment, Make it again" in said
    text = copy.report.read_text()
    assert "result.json: got" in text
    assert "started at an unknown time · unfinished" in text


def test_a_file_where_the_folder_belongs(copy, command):
    shutil.rmtree(copy.parts)
    copy.parts.touch()
    with pytest.raises(SystemExit) as stopped:
        command(f"run={copy.root}")
    assert f"report: got {copy.parts}, expected a folder" in stopped.value.code


def test_a_folder_where_the_page_belongs(copy):
    copy.report.unlink()
    copy.report.mkdir()
    before = sorted(copy.root.iterdir())
    with pytest.raises(UserError, match=r"report: got .*report\.html, expected a file"):
        write_page(copy)
    assert sorted(copy.root.iterdir()) == before


@pytest.mark.slow
def test_a_run_with_only_a_config_gets_one_report_section(cut_off, command, tmp_path):
    shutil.copy(cut_off.run.config, tmp_path / "config.yaml")
    command(f"run={tmp_path}")
    assert titles(tmp_path / "report.html") == ["Configuration"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run: got nothing, expected a value"),
        (
            ["run=nowhere"],
            "run: got nowhere, which does not exist, expected the directory of a run, with config.yaml in it",
        ),
        (["runn=x"], "runn: got an unknown key"),
    ],
)
def test_a_mistake_is_one_message(command, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        command(*arguments)
    assert stopped.value.code.startswith("cait_finetune report: ")
    assert message in stopped.value.code
