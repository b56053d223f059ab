"""A whole run of ``task=regression`` on two targets in different units, and all that reads the run."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from cait_finetune import finetune, load_run, predict
from cait_finetune.errors import Interrupted, UserError
from tests.quick_runs import no_figures, run

pytestmark = pytest.mark.slow

TARGETS = ("brightness", "width")
ALPHA = 0.2
FORMATS = ("saved_model", "keras", "onnx", "litert", "timm")
#: The exports that `predict` opens.
OPENED = ("saved_model", "onnx/model.onnx", "litert/model.tflite")
IMAGES = 120
SHORT = (
    "task=regression", f"task.alpha={ALPHA}", "dataset=csv", "dataset.columns.weight=weight",
    f"dataset.columns.targets=[{','.join(TARGETS)}]", "model.image_size=16", "train.epochs=2",
    "train.batch_size=16", "average=ema", "augment=none", "distribution=cpu", "train.log_every=1",
)  # fmt: skip


def write_images(folder: Path) -> Path:
    """Write images of a dark bar on a bright ground, and their table. Return the table's path.

    ``brightness`` is the mean grey level, from 0 to 255. ``width`` is the width of the bar in
    kilometres, if the image is a metre wide: at most 0.001.
    """
    random = np.random.default_rng(0)
    rows = []
    for number in range(IMAGES):
        ground, columns = random.integers(80, 256), random.integers(1, 20)
        image = np.full((20, 24, 3), ground) - random.integers(0, 20, (20, 24, 3))
        image[:, :columns] //= 4
        Image.fromarray(image.astype("uint8")).save(folder / f"{number}.png")
        weight = 0.5 + number % 2
        rows.append((f"{number}.png", image.mean(), columns / 24_000, weight))
    table = folder / "images.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", *TARGETS, "weight"), *rows])
    return table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with ``images`` and the finished run ``run``, and what the run printed."""
    root = tmp_path_factory.mktemp("regression")
    (root / "images").mkdir()
    table = write_images(root / "images")
    said, result = run(
        root / "run", *SHORT, f"dataset.data_dir={table}", f"export=[{','.join(FORMATS)}]",
        "export.quantise=[float16]", figures=True,
    )  # fmt: skip
    return root, said, result


def numbers_of(path: Path, images: Path) -> np.ndarray:
    """Return the predictions of a run or file, ``(N, T, 3)``: the number, lower and upper."""
    predictions = predict(path, images)
    assert not predictions.errors
    for one in predictions:
        assert tuple(number.name for number in one.numbers) == TARGETS
    return np.array(
        [[(n.value, n.lower, n.upper) for n in one.numbers] for one in predictions], "float64"
    )


@pytest.fixture(scope="module")
def expected(made, tmp_path_factory):
    """Return the predictions of the checkpoint, and the standard deviations of the targets."""
    root = made[0]
    bare = tmp_path_factory.mktemp("bare") / "run"
    shutil.copytree(root / "run", bare, ignore=shutil.ignore_patterns("export"))
    std = np.array(load_run(root / "run").model.target_scale.std, "float64")
    return numbers_of(bare, root / "images"), std


def test_the_result_has_the_metrics_and_the_intervals(made):
    root, said, result = made
    stored = json.loads((root / "run" / "result.json").read_text())
    assert stored["alpha"] == ALPHA
    assert len(stored["half_widths"]) == len(TARGETS)
    assert min(stored["half_widths"]) > 0
    assert stored["half_widths"][0] > 1000 * stored["half_widths"][1]  # the units differ
    for metric in ("r2", "mae", "rmse", "spearman", "loss", "coverage"):
        assert np.isfinite(stored[f"test_{metric}"]), metric
    assert not [key for key in stored if "top1" in key or key.startswith("temperature")]
    assert "80 % interval ±" in said
    assert result["half_widths"] == stored["half_widths"]


def test_the_statistics_are_those_of_the_training_images(made):
    """Means and standard deviations lie near those of all images, of which 80 % train."""
    root = made[0]
    with (root / "images" / "images.csv").open(newline="", encoding="utf-8") as file:
        table = np.array([[float(row[name]) for name in TARGETS] for row in csv.DictReader(file)])
    scale = load_run(root / "run").model.target_scale
    np.testing.assert_allclose(scale.mean, table.mean(axis=0), rtol=0.1)
    np.testing.assert_allclose(scale.std, table.std(axis=0), rtol=0.1)


def test_the_half_widths_cover_the_validation_images(made):
    """Of n errors, the half width is the k-th smallest, k = ceil((n + 1)(1 - alpha))."""
    root, _, result = made
    saved = np.load(root / "run" / "predictions" / "validation.npz")
    errors = np.sort(np.abs(saved["logits"].astype("float64") - saved["labels"]), axis=0)
    place = int(np.ceil((len(errors) + 1) * (1 - ALPHA)))
    np.testing.assert_allclose(result["half_widths"], errors[place - 1], rtol=1e-6)


@pytest.mark.parametrize("name", OPENED)
def test_each_file_predicts_the_numbers_of_the_checkpoint(made, expected, name):
    root, _, result = made
    wanted, std = expected
    assert wanted.shape == (IMAGES, 2, 3)
    assert wanted[:, :, 0].std(axis=0).min() > 0  # a file with constant numbers must not pass
    got = numbers_of(root / "run" / "export" / name, root / "images")
    assert (np.abs(got - wanted) / std[:, None]).max() < 1e-3
    widths = np.array(result["half_widths"])
    for ends in (got, wanted):
        rounding = 1e-6 * (np.abs(ends[:, :, 0]).max(axis=0) + widths)
        assert (np.abs(ends[:, :, 0] - ends[:, :, 1] - widths) <= rounding).all()
        assert (np.abs(ends[:, :, 2] - ends[:, :, 0] - widths) <= rounding).all()


def test_a_run_predicts_from_its_export(made, expected):
    root = made[0]
    wanted, std = expected
    got = numbers_of(root / "run", root / "images")
    assert (np.abs(got - wanted) / std[:, None]).max() < 1e-3


def test_the_keras_file_estimates_the_numbers_of_the_checkpoint(made, expected):
    import keras

    root, _, result = made
    wanted, std = expected
    model = keras.saving.load_model(root / "run" / "export" / "keras" / "model.keras")
    files = [one.path for one in predict(root / "run", root / "images")]
    pixels = np.stack([np.array(Image.open(path)) for path in files[:16]])
    answer = {name: np.asarray(one) for name, one in model.estimate(pixels).items()}
    assert list(answer["target_names"]) == list(TARGETS)
    for column, name in enumerate(("prediction", "lower", "upper")):
        assert (np.abs(answer[name] - wanted[:16, :, column]) / std).max() < 1e-3, name
    assert model.alpha == ALPHA
    np.testing.assert_allclose(model.half_widths, result["half_widths"], rtol=1e-6)


def test_the_timm_weights_hold_the_units_of_the_targets(made, expected):
    import cait_tf

    root, _, result = made
    wanted, std = expected
    folder = root / "run" / "export" / "timm"
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"] == list(TARGETS)
    assert (config["alpha"], config["half_widths"]) == (ALPHA, result["half_widths"])
    assert not {"temperature", "activation"} & set(config)
    finished = load_run(root / "run")
    settings = finished.model.get_config()
    settings["num_classes"] = settings.pop("num_targets")
    settings["class_names"] = settings.pop("target_names")
    linear = cait_tf.CaiTClassifier.from_config(settings)
    cait_tf.load_weights(linear, folder / "model.safetensors")
    files = [one.path for one in predict(root / "run", root / "images")][:8]
    images = np.concatenate([finished.preprocess(np.array(Image.open(path))) for path in files])
    got = np.asarray(linear(images, training=False))
    assert (np.abs(got - wanted[:8, :, 0]) / std).max() < 1e-3


def test_exports_state_the_fit_and_pass_within_the_tolerances(made):
    root, _, result = made
    exports = json.loads((root / "run" / "export" / "exports.json").read_text())
    assert set(exports) == set(FORMATS)
    for name, one in exports.items():
        assert one["difference"] <= (1e-4 if name == "saved_model" else 1e-3), name
        assert (one["alpha"], one["half_widths"]) == (ALPHA, result["half_widths"])
    (variant,) = exports["litert"]["variants"].values()
    assert variant["metric"] == "r2"
    assert variant["agreement"] == 1.0
    assert variant["accuracy"] == pytest.approx(variant["plain_accuracy"], abs=0.01)


def test_the_report_and_the_card_are_about_numbers(made):
    root = made[0]
    page = (root / "run" / "report.html").read_text(encoding="utf-8")
    for title in ("Targets", "Predictions", "Largest errors"):
        assert f">{title}</h2>" in page, title
    for title in ("Classes", "Confusion", "Calibration", "Mistakes"):
        assert f">{title}</h2>" not in page, title
    cards = list((root / "run" / "export").rglob("README.md"))
    assert cards
    for card in cards:
        text = card.read_text(encoding="utf-8").lower()
        assert "brightness, width" in text
        assert "probabilit" not in text
        assert "image classifier" not in text


def test_a_finished_run_is_not_resumed(made):
    run_directory = made[0] / "run"
    before = {path: path.read_bytes() for path in run_directory.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="whose run is finished"):
        finetune(f"resume={run_directory}")
    after = {path: path.read_bytes() for path in run_directory.rglob("*") if path.is_file()}
    assert after == before


def records(directory: Path) -> list[dict]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()[1:]
    timing = {"images_per_second": 0, "data_wait_share": 0}
    return [{**json.loads(line), **timing} for line in lines]


def test_an_interrupted_run_resumes_to_the_same_bits(made, tmp_path):
    root, _, whole = made
    table = root / "images" / "images.csv"
    epochs = []

    def ask_to_end(metrics):
        if not epochs:
            signal.raise_signal(signal.SIGTERM)
        epochs.append(metrics)

    cut = tmp_path / "cut"
    with no_figures():
        with pytest.raises(Interrupted):
            finetune(*SHORT, f"dataset.data_dir={table}", "export=none", directory=cut,
                     on_epoch_end=ask_to_end)  # fmt: skip
        assert not (cut / "result.json").exists()
        assert len(epochs) == 1
        result = finetune(f"resume={cut}").result
    assert records(cut) == records(root / "run")
    for name in ("best", "last"):
        ours, theirs = (
            load_file(one / "checkpoints" / f"{name}.safetensors") for one in (cut, root / "run")
        )
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
    same = {key for key in whole if key.startswith(("test_", "validation_"))}
    assert {"test_r2", "test_mae"} <= same
    for key in (*same, "half_widths", "alpha", "best_epoch", "steps"):
        assert result[key] == whole[key], key


def test_a_run_from_these_weights_starts_with_the_same_numbers(made, tmp_path):
    """A rate of 1e-12 moves nothing, and other training images do not move the statistics."""
    root = made[0]
    table = root / "images" / "images.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fewer = root / "images" / "fewer.csv"
    with fewer.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows[:80])
    best = root / "run" / "checkpoints" / "best.safetensors"
    run(
        tmp_path / "next", *SHORT, f"dataset.data_dir={fewer}", f"model.weights={best}",
        "optimizer.base_lr=1e-12", "schedule.min_lr=0", "schedule.warmup_lr=0", "train.epochs=1",
        "export=none",
    )  # fmt: skip
    fewer.unlink()
    models = [load_run(one).model for one in (root / "run", tmp_path / "next")]
    for name in ("mean", "std"):
        ours, theirs = (np.array(getattr(one.target_scale, name)) for one in models)
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    images = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype("float32")
    ours, theirs = (np.asarray(one(images, training=False)) for one in models)
    assert (np.abs(ours - theirs) / np.array(models[0].target_scale.std)).max() < 1e-5
