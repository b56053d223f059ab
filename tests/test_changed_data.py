"""Runs whose images change before `resume`, `export` or `report`."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from cait_finetune.api import finetune
from cait_finetune.commands.export import export, read_arguments
from cait_finetune.commands.report import ReportConfig, report
from cait_finetune.errors import UserError
from cait_finetune.runs.identity import ChangedData
from cait_finetune.runs.saved import RunDataConfig
from cait_finetune.scores.predictions import load_predictions
from tests.cait_finetune.stand_ins import COLOURS, image_file
from tests.small_model import WORDS, small_model  # noqa: F401  the fixture is for all tests

pytestmark = pytest.mark.slow

SHORT = ("train.batch_size=8", "train.eval_batch_size=8", "model.image_size=16", "export=none",
         "export.check_images=2", "dataset.allow_flip=false", "distribution=cpu", "augment=none", "optimizer.base_lr=1e-2",
         *WORDS)  # fmt: skip


def add(root, count, prefix=""):
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            path = root / name / f"{prefix}{name[0]}{number:02}.jpg"
            path.write_bytes(image_file(colour, seed=number))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with images, and a run of four epochs on them without its result.json."""
    root = tmp_path_factory.mktemp("changed")
    add(root / "images", 20)
    where = f"dataset.data_dir={root / 'images'}"
    finetune("dataset=folder", where, *SHORT, "train.epochs=4", directory=root / "run")
    (root / "run" / "result.json").rename(root / "result.json")
    return root


@pytest.fixture
def images(made, tmp_path):
    """A copy of the images beside a copy of the run, which a test may change."""
    shutil.copytree(made / "images", tmp_path / "images")
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "images"


def resume(images, *words):
    return finetune(f"resume={images.parent / 'run'}", f"dataset.data_dir={images}", *words).result


def contents(images):
    """Return the files that a refused command must not change."""
    run = images.parent / "run"
    return {
        path: path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name not in (".lock", "environment.json")
    }


def test_a_renamed_class_is_refused_by_name(images):
    (images / "red").rename(images / "zebra")
    before = contents(images)
    with pytest.raises(ChangedData, match="gone: red; new: zebra"):
        resume(images)
    with pytest.raises(ChangedData, match="gone: red; new: zebra"):
        resume(images, "dataset.accept_changes=true")
    run = str(images.parent / "run")
    with pytest.raises(ChangedData, match="gone: red; new: zebra"):
        report(ReportConfig(run=run, dataset=RunDataConfig(data_dir=str(images))))
    words = [f"run={run}", "export=timm", f"dataset.data_dir={images}"]
    with pytest.raises(ChangedData, match="gone: red; new: zebra"):
        export(*read_arguments(words))
    assert contents(images) == before


def test_images_that_came_are_refused_or_accepted_and_recorded(images):
    add(images, 10, "new_")
    with pytest.raises(ChangedData, match=r"30 images new \(blue/new_b00\.jpg"):
        resume(images)
    result = resume(images, "dataset.accept_changes=true")
    assert result["data"]["accepted_changes"][0].startswith("resume: 30 images new")
    assert sum(one["size"] for one in result["data"]["splits"].values()) == 90
    recorded = json.loads((images.parent / "run" / "identity.json").read_text())
    assert recorded["data"]["sha256"] == result["data"]["sha256"]


def test_a_run_that_is_longer_than_its_remaining_images_allow(images):
    """With half of the images a run has half of the steps: the saved state is beyond its end."""
    for path in sorted(images.rglob("*.jpg"))[::2]:
        path.unlink()
    with pytest.raises(ChangedData, match="30 images gone"):
        resume(images)
    result = resume(images, "dataset.accept_changes=true")
    assert result["steps"] == 24
    rows = csv.reader((images / "cait_splits.csv").read_text().splitlines())
    tested = [row[0] for row in rows if row[1:2] == ["test"] and (images / row[0]).exists()]
    assert result["test_examples"] == len(tested) > 0


def test_pictures_that_were_replaced_under_their_names(images):
    """Only the pixels show the change, as after a new crop of the whole data set."""
    for number in range(3):
        shutil.copy(images / "red" / f"r{number:02}.jpg", images / "blue" / f"b{number:02}.jpg")
    refused = r"3 images with other content \(blue/b0\d\.jpg, .*, …\)"
    with pytest.raises(ChangedData, match=refused):
        resume(images)
    with pytest.raises(ChangedData, match=refused):
        report(
            ReportConfig(
                run=str(images.parent / "run"), dataset=RunDataConfig(data_dir=str(images))
            )
        )


def exchange(images, split):
    """Replace every red image of a split by a blue one, and every blue image by a red one."""
    rows = list(csv.reader((images / "cait_splits.csv").read_text().splitlines()))
    names = [row[0] for row in rows if row[1:2] == [split]]
    others = {"red": "blue", "blue": "red"}
    for number, name in enumerate(names):
        folder = name.partition("/")[0]
        if folder in others:
            colour = COLOURS[others[folder]]
            (images / name).write_bytes(image_file(colour, seed=100 + number))


def test_accepted_validation_images_decide_anew_which_epoch_is_best(images, capsys):
    best = json.loads((images.parent / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert best["validation_top1"] == 1
    exchange(images, "validation")
    result = resume(images, "dataset.accept_changes=true")
    assert result["validation_top1"] == pytest.approx(1 / 3)
    assert "on the images as they are now: validation loss" in capsys.readouterr().out
    kept = load_predictions(images.parent / "run" / "predictions" / "validation.npz")
    assert (kept.logits.argmax(1) == kept.labels).mean() == pytest.approx(1 / 3)


def test_accepted_test_images_are_predicted_again_for_the_report(made, images):
    run = images.parent / "run"
    shutil.copy(made / "result.json", run)
    scores = run / "report" / "scores.json"
    before = json.loads(scores.read_text())
    exchange(images, "test")
    data = RunDataConfig(data_dir=str(images), accept_changes=True)
    report(ReportConfig(run=str(run), dataset=data))
    after = json.loads(scores.read_text())
    assert (before["test"]["top1"], after["test"]["top1"]) == (1, pytest.approx(1 / 3))


def test_images_that_moved_are_the_same_and_found_by_later_commands(images, tmp_path):
    moved = images.rename(tmp_path / "moved")
    assert "accepted_changes" in resume(moved)["data"]
    export(*read_arguments([f"run={images.parent / 'run'}", "export=timm"]))


def test_absolute_paths_of_a_table_may_change(tmp_path, capsys):
    add(tmp_path / "images", 5)
    table = tmp_path / "table.csv"

    def write(folder):
        files = sorted(folder.rglob("*.jpg"))
        table.write_text("\n".join(["path,label", *(f"{one},{one.parent.name}" for one in files)]))

    write(tmp_path / "images")
    words = ("dataset=csv", f"dataset.data_dir={table}", *SHORT, "train.epochs=1")
    finetune(*words, directory=tmp_path / "run")
    write((tmp_path / "images").rename(tmp_path / "moved"))
    capsys.readouterr()
    report(ReportConfig(str(tmp_path / "run")))
    assert "made under other paths of the images" in capsys.readouterr().out
    kept = (tmp_path / "run" / "report" / "mistakes.csv").read_text()
    assert "/images/" not in kept


def test_a_new_run_has_nothing_to_accept(images):
    with pytest.raises(UserError, match=r"dataset\.accept_changes: got true without resume"):
        finetune("dataset=folder", f"dataset.data_dir={images}", "dataset.accept_changes=true")
