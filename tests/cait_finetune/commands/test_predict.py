"""The command `predict`: its inputs, its output and its messages."""

import csv
import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from cait_finetune.commands import predict as predict_command
from cait_finetune.errors import UserError
from cait_finetune.inference.running import PredictConfig, predict
from tests.cait_finetune.conftest import NAMES


@pytest.fixture
def command(monkeypatch):
    def run(*arguments) -> int | str:
        monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            predict_command.main()
        return stopped.value.code

    return run


@pytest.mark.slow
def test_classifies_a_glob_and_writes_csv(run, photos, tmp_path, command, capsys):
    output = tmp_path / "new" / "out.csv"
    arguments = (f"model={run}", f"images={photos}/*.png", "top_k=2", f"output={output}")
    assert command(*arguments) == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["path"] for row in rows] == [str(photos / f"{n}.png") for n in range(3)]
    for row in rows:
        assert {row["class_1"], row["class_2"]} < set(NAMES)
        assert 1 >= float(row["probability_1"]) >= float(row["probability_2"]) >= 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == f"output {output}"
    assert re.fullmatch(r"images 3; [\d.]+ img/s", said[-1])


@pytest.mark.slow
def test_several_images_and_json(run, photos, tmp_path, command, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    output = tmp_path / "out.json"
    images = f"images=[{tmp_path}/, {photos}/1.png]"
    keys = ("batch_size=1", "top_k=9")
    assert command(f"model={run}", images, f"output={output}", *keys) == 2
    assert f"top_k  {len(NAMES)}: the model has no more classes" in capsys.readouterr().out
    broken, good = json.loads(output.read_text())
    assert broken["path"] == str(tmp_path / "broken.jpg")
    assert broken["classes"] == []
    assert broken["error"].startswith("not an image")
    assert (good["path"], good["error"]) == (str(photos / "1.png"), None)
    assert {one["name"] for one in good["classes"]} == set(NAMES)
    assert sum(one["probability"] for one in good["classes"]) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["50", "200"])
def test_the_table_shows_whole_paths_and_classes(
    run, photos, monkeypatch, command, capsys, columns
):
    monkeypatch.setenv("COLUMNS", columns)  # a narrow and a wide terminal
    assert command(f"model={run}", f"images={photos}/*.png", "top_k=3") == 0
    cells = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if "│" in line]
    paths = "".join(path.strip() for path, _ in cells)
    assert paths == "".join(str(photos / f"{n}.png") for n in range(3))
    classes = "".join(names for _, names in cells)
    assert all(classes.count(name) == 3 for name in ("ant", "bee"))


@pytest.mark.slow
def test_a_broken_file_among_good_ones(run, photos, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (tmp_path / "good.png").write_bytes((photos / "0.png").read_bytes())
    (tmp_path / "fine.png").write_bytes((photos / "1.png").read_bytes())
    broken, fine, good = predict(PredictConfig(str(run), [str(tmp_path)]))
    assert broken.error.startswith("not an image")
    assert not broken.classes
    assert len(good.classes) == len(fine.classes) == 3
    alone = predict(PredictConfig(str(run), [str(tmp_path / "good.png")]))
    np.testing.assert_allclose(
        [share for _, share in good.classes], [share for _, share in alone[0].classes], atol=1e-6
    )


@pytest.mark.slow
def test_maps_are_beside_their_images(run, photos, tmp_path, command, capsys):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "0.png").write_bytes((photos / "0.png").read_bytes())
    images = f"images=[{photos},{tmp_path}]"
    assert command(f"model={run}", images, f"maps={tmp_path}/maps") == 0
    drawn = sorted((tmp_path / "maps").rglob("*.png"))
    assert [path.name for path in drawn] == ["0.png.png", "1.png.png", "2.png.png", "0.png.png"]
    image, mapped = np.split(np.array(Image.open(drawn[0])).astype(int), 2, axis=1)
    assert image.shape == (192, 192, 3)  # enlarged from 16 pixels
    assert np.abs(image - mapped).max() > 50
    fewer = predict(PredictConfig(str(run), [f"{photos}/1.png"], maps=f"{tmp_path}/fewer"))
    assert len(fewer) == 1
    assert (tmp_path / "fewer" / "1.png.png").read_bytes() == drawn[1].read_bytes()
    capsys.readouterr()
    assert command(f"model={run}", f"images={photos}/1.png", f"maps={tmp_path}/maps") == 0
    said = "maps has 4 pictures of an earlier command: 0 are replaced, 4 stay"
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_augmentation_changes_probabilities(run, photos):
    plain, flip, five = (
        predict(PredictConfig(str(run), [f"{photos}/1.png"], tta=tta))[0].classes
        for tta in ("none", "flip", "five_crop")
    )
    assert len({plain, flip, five}) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modle=x", "images=y"], "did you mean model"),
        (["images=y"], "run: got nothing, expected run=DIR"),
        (["model=y"], "images: got nothing"),
        (["run=x", "model=y", "images=z"], "run: got run= and model=, expected"),
        (
            ["run=x", "--maps", "m"],
            "--maps: got an option, expected key=value without dashes\n  Write maps=…",
        ),
        (["model=nowhere", "images=y"], "model: got nowhere"),
        (["model=x", "images=y", "top_k=0"], "top_k: got 0, expected a number in [1"),
        (["model=x", "images=y", "batch_size=0"], "batch_size: got 0, expected a number in [1"),
        (["model=x", "images=y", "top_k=many"], "many"),
        (
            ["model=x", "images=y", "tta=flop"],
            "tta: got 'flop', expected one of none, flip, five_crop",
        ),
    ],
)
def test_mistakes_are_one_message(arguments, message, command):
    answer = command(*arguments)
    assert answer.startswith("cait_finetune predict: ")
    assert message in answer


def test_arguments_are_checked_before_the_model_loads(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("cait_finetune.inference.found_model.FoundModel.open", None)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    images = [str(photos)]
    for change, message in (
        ({"images": [f"{tmp_path}/*.png"]}, "images: got"),
        ({"output": "out.xml"}, r"output: got out.xml, expected a name that ends in .csv or .json"),
        ({"output": "s3://b/out.csv"}, r"output: got s3:/b/out.csv, expected a path on a disk"),
        ({"maps": "s3://b/maps"}, r"maps: got s3:/b/maps, expected a path on a disk"),
        ({"output": f"{tmp_path}/folder.csv"}, "expected the name of a file; this is a folder"),
        ({"output": f"{tmp_path}/file/out.csv"}, "output: got .*, expected a file that can be"),
        ({"maps": f"{tmp_path}/file"}, "maps: got .*file, expected a folder that can be written"),
    ):
        with pytest.raises(UserError, match=message):
            predict(PredictConfig(**{"model": str(run), "images": images, **change}))
    (tmp_path / "m.onnx").touch()
    with pytest.raises(
        UserError, match=r"maps: got a value with .*m.onnx.*its run.*\n  Give the run's"
    ):
        predict(PredictConfig(f"{tmp_path}/m.onnx", images, maps=f"{tmp_path}/maps"))


@pytest.mark.parametrize("tta", ["flip", "ten_crop"])
def test_digits_are_not_mirrored(bare_run, photos, tmp_path, tta):
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "checkpoints").symlink_to(bare_run / "checkpoints")
    config = (bare_run / "config.yaml").read_text()
    assert "allow_flip: true" in config
    (directory / "config.yaml").write_text(config.replace("allow_flip: true", "allow_flip: false"))
    with pytest.raises(UserError, match=f"tta: got {tta}, expected none or five_crop: the run"):
        predict(PredictConfig(str(directory), [str(photos)], tta=tta))
