"""Scoring weights as they are, on images in synset folders."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest

import cait_tf
from cait_finetune import evaluate
from cait_finetune.scores.evaluation import Evaluator
from cait_tf import images
from cait_tf.imagenet import synsets
from tests.cait_finetune.stand_ins import encode, picture

LABELS = (3, 3, 500, 500, 500, 7, 999)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, its file, and seven images in synset folders."""
    root = tmp_path_factory.mktemp("imagenet")
    model = cait_tf.create_model("cait_nano_32")
    for variable in model.weights:  # predictions that differ from image to image
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    cait_tf.save_weights(model, root / "nano.safetensors")
    for number, label in enumerate(LABELS):
        folder = root / "images" / synsets()[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode(picture(40, 50, seed=number)))
    return root


@pytest.fixture
def command(made, monkeypatch, capsys, tmp_path):
    def run(*arguments):
        words = [
            "evaluate", "-cn", "i1k_eval", *[a for a in arguments if a[0] == "-"], "dataset=imagenet_folder", "model=cait_nano_32",
            f"model.weights={made / 'nano.safetensors'}", f"dataset.data_dir={made / 'images'}",
            "train.eval_batch_size=3", *[a for a in arguments if a[0] != "-"],
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        evaluate.main()
        return capsys.readouterr().out

    return run


def rows(tmp_path):
    with open(tmp_path / "outputs" / "i1k_eval" / "accuracies.csv") as file:
        return list(csv.DictReader(file))


def test_both_protocols_over_every_image(command, made, tmp_path):
    out = command()
    assert "on 7 images" in out
    table = rows(tmp_path)
    assert [row["crop_pct"] for row in table] == ["0.875", "1.0"]
    assert all(row["images"] == "7" for row in table)
    model = cait_tf.create_model("cait_nano_32", weights=made / "nano.safetensors")
    for row in table:
        crop = float(row["crop_pct"])
        paths = sorted((made / "images").rglob("*.png"))
        batch = np.stack([images.load_image(path, (32, 32), crop) for path in paths])
        order = np.argsort(-np.asarray(model(images.normalise(batch))), axis=-1)
        labels = [synsets().index(path.parent.name) for path in paths]
        for name, k in (("top1", 1), ("top5", 5)):
            hits = [label in ranked[:k] for label, ranked in zip(labels, order, strict=True)]
            assert float(row[name]) == pytest.approx(100 * np.mean(hits), abs=1e-3)


def test_what_is_in_the_table_is_not_measured_again(command, monkeypatch, tmp_path):
    command("evaluation.crop_pcts=[1.0]")
    measured = []
    real = Evaluator.__call__
    monkeypatch.setattr(
        Evaluator, "__call__", lambda self, batches: measured.append(1) or real(self, batches)
    )
    out = command()
    assert "crop 1: top-1" in out
    assert "in the table already" in out
    assert len(measured) == 1
    assert len(rows(tmp_path)) == 2
    command()
    assert len(measured) == 1


def test_an_interrupted_table_keeps_what_it_has(command, monkeypatch, tmp_path):
    real, calls = Evaluator.__call__, []

    def dies(self, batches):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, batches)

    monkeypatch.setattr(Evaluator, "__call__", dies)
    with pytest.raises(SystemExit) as stopped:
        command()
    assert stopped.value.code == 130
    assert len(rows(tmp_path)) == 1


def test_several_models_share_one_table(command, tmp_path):
    command("-m", "evaluation.crop_pcts=[1.0],[0.9]")
    assert [row["crop_pct"] for row in rows(tmp_path)] == ["0.9", "1.0"]


def test_a_head_for_other_classes(command, made, tmp_path):
    path = tmp_path / "ten.safetensors"
    cait_tf.save_weights(cait_tf.create_model("cait_nano_32", num_classes=10), path)
    with pytest.raises(
        SystemExit, match="whose head is not for the 1000 classes of imagenet_folder"
    ):
        command(f"model.weights={path}")


def test_a_corrupt_image(command, made, tmp_path):
    folder = tmp_path / "images" / synsets()[0]
    folder.mkdir(parents=True)
    (folder / "good.png").write_bytes(encode(picture(40, 50)))
    where = f"dataset.data_dir={folder.parent}"
    # Half a file is found when it is decoded, other files before.
    for data, message in (
        (encode(picture(40, 50))[:60], r"the corrupt image n01440764/bad\.png"),
        (b"no image", r"1 file that cannot be read: n01440764/bad\.png \(text\)"),
    ):
        (folder / "bad.png").write_bytes(data)
        with pytest.raises(SystemExit, match=message):
            command(where)
    assert "on 1 images" in command(where, "dataset.on_corrupt=skip")


def test_published_figures_stand_beside_for_the_ratios_they_are_for():
    from cait_finetune.model import published_accuracy

    variant = cait_tf.VARIANTS["cait_s24_224"]
    assert published_accuracy(variant, 224, 1.0) == (83.484, 96.586)
    assert published_accuracy(variant, 224, 0.875) == (83.368, 96.576)
    assert published_accuracy(variant, 224, 0.9) == (None, None)
    assert published_accuracy(variant, 384, 1.0) == (None, None)
