"""The command `evaluate`, on images in synset folders."""

from __future__ import annotations

import csv
import shutil
import sys

import numpy as np
import pytest
from safetensors import safe_open

import cait_tf
from cait_finetune import model as models
from cait_finetune.commands import evaluate
from cait_finetune.scores.evaluation import Evaluation, Evaluator
from cait_tf import images
from cait_tf.imagenet import synsets
from tests.cait_finetune.stand_ins import encode, picture

LABELS = (3, 3, 500, 500, 500, 7, 999)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Write a model's weights and seven images in synset folders; return their directory."""
    root = tmp_path_factory.mktemp("imagenet")
    model = cait_tf.create_model("cait_nano_32")
    for variable in model.weights:  # makes predictions differ between images
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    cait_tf.save_weights(model, root / "nano.safetensors")
    for number, label in enumerate(LABELS):
        folder = root / "images" / synsets()[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode(picture(40, 50 + number, seed=number)))
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
    with open(tmp_path / "outputs" / "i1k_eval" / "accuracies.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_note_reports_a_split_with_only_a_part_of_the_images(command, made, unmeasured, tmp_path):
    out = command()
    assert "data   imagenet_folder: 1,000 classes, 7 train, 7 validation, 7 test" in out
    assert "score  test, 7 images" in out
    images = shutil.copytree(made / "images", tmp_path / "images")
    for name in ("more", "others"):
        for path in list(images.glob("*/?.png")):
            shutil.copy(path, path.with_name(f"{path.stem}{name}.png"))
    words = (
        "dataset.evaluation_only=false",
        f"dataset.data_dir={images}",
        "dataset.on_corrupt=skip",
    )
    out = command(*words, "evaluation.split=validation")
    assert f"kept in {images}/cait_splits.csv" in out
    assert (
        "score  validation is only a part of the images, as in training: add dataset.evaluation_only="
        in out
    )


@pytest.mark.slow
def test_rows_in_the_table_are_not_measured_again(command, monkeypatch, tmp_path):
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


@pytest.fixture
def unmeasured(monkeypatch):
    """Replace the evaluator with a stub; return a list with one item per evaluated split."""
    calls = []
    metrics = Evaluation(loss=1.0, top1=0.5, top5=0.75, mean_per_class=0.5, examples=len(LABELS))
    monkeypatch.setattr(Evaluator, "__call__", lambda self, _: calls.append(1) or metrics)
    return calls


@pytest.fixture
def own(made, tmp_path):
    """Copy weights and images, so that a test may change them; return the directory and words."""
    shutil.copytree(made, tmp_path / "own")
    root = tmp_path / "own"
    words = (f"model.weights={root / 'nano.safetensors'}", f"dataset.data_dir={root / 'images'}")
    return root, ("evaluation.crop_pcts=[1.0]", *words)


@pytest.mark.slow
def test_another_file_under_the_same_path_is_measured(command, own, unmeasured, tmp_path):
    root, words = own
    command(*words)
    assert "in the table already" in command(*words)
    first = rows(tmp_path)
    cait_tf.save_weights(cait_tf.create_model("cait_nano_32"), root / "nano.safetensors")
    assert "in the table already" not in command(*words)
    assert len(unmeasured) == 2
    table = rows(tmp_path)
    assert len({row["weights_sha256"] for row in table}) == len(table) == 2
    assert first[0] in table


def replace_an_image(images):
    """Replace an image and keep its name, as data sets derived from ImageNet do."""
    path = next(images.glob("*/0.png"))
    path.write_bytes(encode(picture(40, 50, seed=99)))


def add_an_image(images):
    shutil.copy(next(images.glob("*/0.png")), images / synsets()[500] / "8.png")


def relabel_an_image(images):
    path = next(images.glob("*/0.png"))
    path.rename(images / synsets()[500] / path.name)


@pytest.mark.slow
@pytest.mark.parametrize("change", [replace_an_image, add_an_image, relabel_an_image])
def test_other_images_in_the_same_folder_are_measured(command, own, unmeasured, tmp_path, change):
    root, words = own
    command(*words)
    change(root / "images")
    assert "in the table already" not in command(*words)
    assert len(unmeasured) == 2
    assert len({(row["data_sha256"], row["images_sha256"]) for row in rows(tmp_path)}) == 2


@pytest.mark.slow
def test_unchecked_images_are_always_measured(command, own, unmeasured):
    _, words = own
    for count in (1, 2):
        assert "in the table already" not in command(*words, "dataset.check=false")
        assert len(unmeasured) == count


@pytest.mark.slow
def test_images_that_moved_are_the_same(command, own, unmeasured, tmp_path):
    root, words = own
    command(*words)
    shutil.copytree(root / "images", root / "elsewhere", copy_function=shutil.copyfile)
    command(*words, f"dataset.data_dir={root / 'elsewhere'}")
    assert len(unmeasured) == 1


@pytest.mark.slow
def test_another_protocol_is_measured(command, own, unmeasured, tmp_path):
    words = (
        "preprocessing.mean=[0.5,0.5,0.5]",
        "evaluation.split=validation",
        "preprocessing.resize_mode=squash",
        "preprocessing.resize_mode=pad",
        "preprocessing.interpolation=bilinear",
        "preprocessing.antialias=false",
        "preprocessing.std=[0.5,0.5,0.5]",
        "dataset.upright=true",
        "model.image_size=64",
    )
    command(*own[1])
    for number, word in enumerate(words, start=2):
        assert "in the table already" not in command(*own[1], word)
        assert len(unmeasured) == len(rows(tmp_path)) == number
    assert "in the table already" in command(*own[1], word)


@pytest.mark.slow
def test_on_corrupt_stop_does_not_reuse_a_row_that_skipped_images(command, own, tmp_path):
    root, words = own
    next((root / "images").glob("*/0.png")).write_bytes(b"no image")
    skip = "dataset.on_corrupt=skip"
    assert "on 6 images" in command(*words, skip)
    assert [(row["images"], row["left_out"]) for row in rows(tmp_path)] == [("6", "1")]
    assert "in the table already" in command(*words, skip)
    with pytest.raises(SystemExit, match="1 file that cannot be read"):
        command(*words)


@pytest.mark.slow
def test_the_weights_of_a_row_are_those_that_the_file_states(command, own, unmeasured, tmp_path):
    root, words = own
    command(*words)
    with safe_open(root / "nano.safetensors", "np") as file:
        stated = file.metadata()["cait_tf.sha256"]
    assert rows(tmp_path)[0]["weights_sha256"] == stated[:12]


@pytest.mark.slow
def test_published_figures_stand_beside_their_own_protocol(
    command, own, unmeasured, monkeypatch, tmp_path
):
    monkeypatch.setattr(models, "published_accuracy", lambda *_: (80.0, 95.0))

    def beside(*words):
        command(*own[1], *words)
        given = [row for row in rows(tmp_path) if row not in before]
        before.extend(given)
        return given[0]["published_top1"] == "80.0"

    before = []
    assert not beside("evaluation.split=test")  # only seven images
    (tmp_path / "outputs" / "i1k_eval" / "accuracies.csv").unlink()
    monkeypatch.setattr(evaluate, "_VALIDATION_IMAGES", len(LABELS))
    before = []
    assert not beside()  # the number fits, but the names are not ImageNet's
    (tmp_path / "outputs" / "i1k_eval" / "accuracies.csv").unlink()
    monkeypatch.setattr(evaluate, "_VALIDATION_FILE", "")
    before = []
    assert beside()
    with monkeypatch.context() as patched:  # the images of ImageNet-C have one size
        patched.setattr(evaluate, "_LOOKED_AT", 1)
        (tmp_path / "outputs" / "i1k_eval" / "accuracies.csv").unlink()
        before = []
        assert not beside()
    for word in (
        "preprocessing.interpolation=bilinear",
        "preprocessing.resize_mode=squash",
        "preprocessing.antialias=false",
        "preprocessing.mean=[0.5,0.5,0.5]",
        "dataset.upright=true",
        "dataset.name=mine",
    ):
        assert not beside(word), word


@pytest.mark.slow
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


@pytest.mark.slow
def test_several_models_share_one_table(command, tmp_path):
    command("-m", "evaluation.crop_pcts=[1.0],[0.9]")
    assert [row["crop_pct"] for row in rows(tmp_path)] == ["0.9", "1.0"]


@pytest.mark.slow
def test_a_head_for_other_classes(command, made, tmp_path):
    path = tmp_path / "ten.safetensors"
    model = cait_tf.create_model("cait_nano_32", num_classes=10)
    cait_tf.save_weights(model, path)
    with pytest.raises(
        SystemExit,
        match=r"names no classes of the model's head; new head for 1000 classes, expected a head for",
    ):
        command(f"model.weights={path}")
    cait_tf.save_weights(model, path, {"classes": "\n".join(map(str, range(10)))})
    with pytest.raises(
        SystemExit, match=r"other classes, gone: 0, 1, 2, 3, 4, … \(10 in all\); new: "
    ):
        command(f"model.weights={path}")


@pytest.mark.slow
def test_a_corrupt_image(command, made, tmp_path):
    folder = tmp_path / "images" / synsets()[0]
    folder.mkdir(parents=True)
    (folder / "good.png").write_bytes(encode(picture(40, 50)))
    where = f"dataset.data_dir={folder.parent}"
    # A truncated image fails when it is decoded. A file that is no image fails before.
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
    assert published_accuracy(variant, (224, 224), 1.0) == (83.484, 96.586)
    assert published_accuracy(variant, (224, 224), 0.875) == (83.368, 96.576)
    assert published_accuracy(variant, (224, 224), 0.9) == (None, None)
    assert published_accuracy(variant, (224, 384), 1.0) == (None, None)


def test_a_crop_ratio_under_the_training_key_is_refused(command):
    with pytest.raises(SystemExit) as stopped:
        command("preprocessing.crop_pct=0.3")
    assert "preprocessing.crop_pct: got 0.3, expected null" in stopped.value.code
    assert "Set evaluation.crop_pcts=[0.3]." in stopped.value.code
