"""A whole run of ``task=several`` on two labels, and all that reads the run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from cait_finetune import predict
from tests.quick_runs import run
from tests.small_model import WORDS, small_model  # noqa: F401  registers the model

pytestmark = pytest.mark.slow

LABELS = {"ground": ("bright", "dark"), "bar": ("long", "medium", "short")}
FORMATS = ("saved_model", "keras", "onnx", "litert")
#: The exports that `predict` opens.
OPENED = ("saved_model", "onnx/model.onnx", "litert/model.tflite")
IMAGES = 120
SHORT = (
    *WORDS, "dataset=csv", "train.epochs=2", "train.batch_size=16", "optimizer.base_lr=0.002", "augment=none",
    "distribution=cpu", "train.label_smoothing=0",
)  # fmt: skip


def write_images(folder: Path) -> Path:
    """Write grey images with a bar, and their table, in which some bars have no label.

    Return the table's path.
    """
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = []
    for number in range(IMAGES):
        ground, bar = number % 2, random.integers(3)
        image = np.full((20, 24, 3), 60 if ground else 200) + random.integers(0, 20, (20, 24, 3))
        image[8:12, : 20 - 7 * bar] = (250, 20, 20)
        Image.fromarray(image.astype("uint8")).save(folder / f"{number}.png")
        label = "" if number % 10 == 9 else LABELS["bar"][bar]
        rows.append((f"{number}.png", LABELS["ground"][ground], label))
    table = folder / "images.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", *LABELS), *rows])
    return table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with ``images`` and the finished run ``run``, what it printed, its result."""
    root = tmp_path_factory.mktemp("several")
    table = write_images(root / "images")
    said, result = run(
        root / "run", *SHORT, "task=several", f"dataset.columns.labels=[{','.join(LABELS)}]",
        f"dataset.data_dir={table}", f"export=[{','.join(FORMATS)}]", figures=True,
    )  # fmt: skip
    return root, said, result


def answers_of(path: Path, images: Path) -> list[tuple[str, ...]]:
    """Return the classes and rounded probabilities of each image, with a prediction of a run or file."""
    predictions = predict(path, images)
    assert not predictions.errors
    for one in predictions:
        assert tuple(answer.label for answer in one.answers) == tuple(LABELS)
        assert all(answer.name in LABELS[answer.label] for answer in one.answers)
    return [
        tuple(f"{answer.name} {answer.probability:.3f}" for answer in one.answers)
        for one in predictions
    ]


def test_the_result_has_each_label_and_their_mean(made):
    _, _, result = made
    tops = [result[f"test_top1/{label}"] for label in LABELS]
    assert result["test_top1"] == pytest.approx(np.mean(tops))
    assert max(tops) > 0.8  # the ground is easy
    assert set(result["exports"]) == set(FORMATS)


def test_each_file_predicts_the_classes_of_the_checkpoint(made):
    root, *_ = made
    wanted = answers_of(root / "run", root / "images")
    assert len(set(wanted)) > 2
    for name in OPENED:
        assert answers_of(root / "run" / "export" / name, root / "images") == wanted, name


def test_the_report_and_the_card_name_the_labels(made):
    root, *_ = made
    page = (root / "run" / "report.html").read_text(encoding="utf-8")
    card = next((root / "run" / "export").glob("README.md")).read_text(encoding="utf-8")
    for label in LABELS:
        assert label in page
        assert label in card


def test_labels_that_a_whole_split_lacks(made, tmp_path):
    """The run finishes. A label has no metrics of a split whose images lack it."""
    root, *_ = made
    with (root / "images" / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["split"] = ("train", "val", "test")[max(0, number - 30) // 30]
        for column, split in (("untested", "test"), ("unvalidated", "val")):
            row[column] = "" if row["split"] == split else row["ground"]
    table = root / "images" / "splits.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    said, result = run(
        tmp_path / "run", *SHORT, "task=several", f"dataset.data_dir={table}", "export=litert",
        "dataset.columns.labels=[bar,untested,unvalidated]", "loss.weights=[2,1,1]", figures=True,
    )  # fmt: skip
    assert "test_top1/untested" not in result
    means = [result["test_top1/bar"], result["test_top1/unvalidated"]]
    assert result["test_top1"] == pytest.approx(np.mean(means))
    assert {"test_top1", "test_mean_per_class"} <= result["intervals"].keys()
    low, high = result["intervals"]["test_top1"]
    assert f"margin ±{50 * (high - low):.0f} points with 30 test images" in said
    assert f"({100 * low:.1f}–{100 * high:.1f})" in next(
        (tmp_path / "run").rglob("README.md")
    ).read_text("utf-8")
    records = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert "top1/untested" in records
    assert "top1/unvalidated" not in records
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "top-1 untested" in page
    assert "top-1 unvalidated" in page


def test_one_label_has_the_bits_of_classification(made, tmp_path):
    root, *_ = made
    table, results = root / "images" / "images.csv", []
    for name, words in (
        ("several", ("task=several", "dataset.columns.labels=[ground]")),
        ("one", ("dataset.columns.label=ground",)),
    ):
        _, result = run(tmp_path / name, *SHORT, *words, f"dataset.data_dir={table}", "export=none")
        results.append(result)
    weights = [
        load_file(tmp_path / name / "checkpoints" / "best.safetensors")
        for name in ("several", "one")
    ]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][key], err_msg=key)
    for key in ("test_top1", "validation_top1", "best_epoch", "steps"):
        assert results[0][key] == results[1][key], key
    names = json.loads((tmp_path / "several" / "result.json").read_text())
    assert names["test_top1/ground"] == results[1]["test_top1"]
