"""The prediction command: what it reads, what it says, what it survives."""

import csv
import sys

import pytest
import tensorflow as tf

import cait_tf
from cait_finetune import predict
from cait_finetune.data.decode import decode
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError
from cait_finetune.export.saved_model import export_saved_model


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        pixels = tf.cast(tf.random.stateless_uniform((20, 30, 3), [0, number], 0, 256), tf.uint8)
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    return folder


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """A run directory with nothing but an export."""
    model = cait_tf.CaiTClassifier(
        3, image_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=1, layer_scale_init=1.0
    )
    preprocessing = Preprocessing(16, 1.0, "bicubic", (0.5,) * 3, (0.2,) * 3)
    directory = tmp_path_factory.mktemp("run")
    (directory / "export").mkdir()
    samples = [(path.name, path.read_bytes()) for path in sorted(photos.iterdir())]
    names = ["ant", "bee", "cat"]
    export_saved_model(
        model, preprocessing, decode, names, samples, directory / "export/saved_model"
    )
    return directory


def command(monkeypatch, *arguments) -> int | str:
    monkeypatch.setattr(sys, "argv", ["predict", *arguments])
    with pytest.raises(SystemExit) as stopped:
        predict.main()
    return stopped.value.code


def test_classifies_a_glob_and_writes_csv(run, photos, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out.csv"
    arguments = (f"model={run}", f"images={photos}/*.png", "top_k=2", f"output={output}")
    assert command(monkeypatch, *arguments) == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["path"] for row in rows] == [str(photos / f"{n}.png") for n in range(3)]
    for row in rows:
        assert {row["class_1"], row["class_2"]} < {"ant", "bee", "cat"}
        assert 1 >= float(row["probability_1"]) >= float(row["probability_2"]) >= 0


@pytest.mark.parametrize("columns", ["50", "200"])
def test_the_table_shows_whole_paths_and_classes(run, photos, monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)  # what a narrow terminal, or a pipe, is taken for
    assert command(monkeypatch, f"model={run}", f"images={photos}/*.png", "top_k=3") == 0
    cells = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if "│" in line]
    paths = "".join(path.strip() for path, _ in cells)
    assert paths == "".join(str(photos / f"{n}.png") for n in range(3))
    classes = "".join(names for _, names in cells)
    assert all(classes.count(name) == 3 for name in ("ant", "bee", "cat"))


def test_a_broken_file_is_named_and_stops_nothing(run, photos, tmp_path, monkeypatch):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (tmp_path / "good.png").write_bytes((photos / "0.png").read_bytes())
    files = predict.find_images(str(tmp_path))
    broken, good = predict.predict(predict.find_model(str(run)), files)
    assert broken.error.startswith("not an image")
    assert not broken.classes
    assert len(good.classes) == 3
    assert command(monkeypatch, f"model={run}", f"images={tmp_path}") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modle=x", "images=y"], "did you mean model"),
        (["images=y"], "model: got nothing"),
        (["model=nowhere", "images=y"], "model: got nowhere"),
        (["model=x", "images=y", "top_k=0"], "top_k: got 0, expected at least 1"),
        (["model=x", "images=y", "top_k=many"], "many"),
    ],
)
def test_mistakes_are_one_message(arguments, message, monkeypatch):
    answer = command(monkeypatch, *arguments)
    assert answer.startswith("cait_finetune.predict: ")
    assert message in answer


def test_no_images(tmp_path):
    with pytest.raises(UserError, match="images: got"):
        predict.find_images(str(tmp_path / "*.png"))
