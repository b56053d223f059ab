"""The user's own images, in folders and tables, from the command to the exported model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.workflow.finetune import finetune
from cait_finetune.workflow.setup import prepare
from cait_finetune.workflow.training import train
from tests.cait_finetune.data.made_images import table
from tests.cait_finetune.stand_ins import COLOURS, checked, image_file
from tests.small_model import WORDS, small_model  # noqa: F401  the fixture is for all tests

pytestmark = pytest.mark.slow

#: A short training: most of the time is start-up.
SHORT = [
    "train.epochs=1",
    "train.batch_size=8",
    "model.image_size=16",
    "train.eval_batch_size=8",
    "export.check_images=4",
    "dataset.allow_flip=false",
    *WORDS,
]


def start(run: Path, *overrides: str) -> dict:
    """Fine-tune in this process; return the contents of the run's ``result.json``."""
    return finetune(checked(*SHORT, *overrides), run)


def train_only(run: Path, *overrides: str) -> None:
    """Fine-tune in this process, without the test scores and the report."""
    config = checked(*SHORT, *overrides)
    train(config, prepare(config, run))


def coloured(root: Path, count: int = 10) -> list[str]:
    """Write one folder of images per colour; return their paths relative to `root`."""
    paths = []
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            path = root / name / f"{number:02}.jpg"
            path.write_bytes(image_file(colour, seed=len(paths)))
            paths.append(f"{name}/{path.name}")
    return paths


def test_a_folder_and_a_second_run_with_more_images(tmp_path, capsys):
    coloured(tmp_path / "images")
    options = ("dataset=folder", f"dataset.data_dir={tmp_path / 'images'}")
    start(tmp_path / "one", *options, "export=none", "train.batch_size=32")
    printed = capsys.readouterr().out
    assert "folder: 3 classes, 24 train, 3 validation, 3 test" in printed
    assert "batch  32 images, more than the 24 of train: a step repeats some" in printed
    result = json.loads((tmp_path / "one" / "result.json").read_text())
    assert result["test_examples"] == 3
    assert 0 <= result["test_top1"] <= 1
    split = (tmp_path / "images" / "cait_splits.csv").read_text().splitlines()
    assert len(split) == 3 + 30  # split rule, header and end mark

    new = tmp_path / "images" / "red" / "new.jpg"
    new.write_bytes(image_file(COLOURS["red"], seed=99))
    prepare(checked(*SHORT, *options), tmp_path / "two")
    again = (tmp_path / "images" / "cait_splits.csv").read_text().splitlines()
    assert [row for row in again if "new.jpg" not in row] == split
    assert len(again) == 3 + 31


def test_a_table_with_several_labels(tmp_path, capsys):
    """Each image has its colour as label, and every second image also has `dark`."""
    rows = [
        f"{path},{path.split('/')[0]}{'|dark' if number % 2 else ''}"
        for number, path in enumerate(coloured(tmp_path))
    ]
    data = table(tmp_path / "images.csv", rows)
    run = tmp_path / "run"
    start(
        run,
        "dataset=csv",
        f"dataset.data_dir={data}",
        "task=multi_label",
        "loss=asymmetric",
    )
    assert "csv: 4 classes" in capsys.readouterr().out
    result = json.loads((run / "result.json").read_text())
    assert result["metric"] == "mean_average_precision"
    assert 0 < result["test_mean_average_precision"] <= 1
    assert "test_top1" not in result

    served = tf.saved_model.load(str(run / "export" / "saved_model")).signatures
    raw = served["images"](images=np.random.default_rng(0).normal(size=(5, 16, 16, 3)).astype("f4"))
    logits = raw["logits"].numpy()
    file = tf.constant([(tmp_path / "red" / "00.jpg").read_bytes()])
    one = served["serving_default"](image_bytes=file)["probabilities"].numpy()
    assert one.shape == (1, 4)
    assert abs(one.sum() - 1) > 0.01  # independent probabilities per class
    assert np.isfinite(logits).all()


def losses(run: Path) -> list[float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["kind"] == "step"]


def test_images_without_weight_do_not_move_training(tmp_path):
    """Blue images have weight 0: their content does not change the trained weights."""
    paths = coloured(tmp_path)
    rows = [f"{path},{path.split('/')[0]},{0 if 'blue' in path else 1}" for path in paths]
    data = table(tmp_path / "images.csv", rows, "path,label,weight")
    options = (
        *("dataset=csv", f"dataset.data_dir={data}", "dataset.columns.weight=weight"),
        *("export=none", "train.log_every=1"),
    )
    train_only(tmp_path / "one", *options)
    for path in paths:
        if "blue" in path:
            (tmp_path / path).write_bytes(image_file((250, 250, 0), seed=7))
    train_only(tmp_path / "two", *options)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-6)
    from safetensors.numpy import load_file

    one, two = (
        load_file(tmp_path / run / "checkpoints/last.safetensors") for run in ("one", "two")
    )
    for name, value in one.items():
        np.testing.assert_allclose(value, two[name], atol=1e-6, err_msg=name)
