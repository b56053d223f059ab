"""The contact sheet of a run: its images, and the messages for a user's mistakes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

import cait_tf
from cait_finetune.commands import attention
from cait_finetune.report import attention_sheet
from tests.cait_finetune.stand_ins import composed

DIGITS = {"classes": "\n".join(map(str, range(10)))}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the directory of a run on digits. Large random weights make the model confident."""
    root = tmp_path_factory.mktemp("attention")
    config = composed(f"dataset.data_dir={root / 'data'}")
    directory = root / "run"
    directory.mkdir()
    OmegaConf.save(config, directory / "config.yaml")
    model = cait_tf.create_model("cait_nano_32", num_classes=10)
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    cait_tf.save_weights(model, directory / "checkpoints" / "best.safetensors", DIGITS)
    return directory


@pytest.fixture
def command(monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["attention", *arguments])
        attention.main()

    return call


@pytest.mark.slow
def test_the_sheet_separates_correct_from_wrong_predictions(run, command, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(
        attention_sheet, "draw_attention_sheet", lambda *arguments: drawn.append(arguments)
    )
    command(f"run={run}", "count=5")
    ((right, wrong, title, path),) = drawn
    assert len(right) == len(wrong) == 5
    assert all(tile.truth == tile.prediction for tile in right)
    assert all(tile.truth != tile.prediction for tile in wrong)
    sure = [tile.probability for tile in wrong]
    assert sure == sorted(sure, reverse=True)
    assert min(sure) > 0.5  # the most confident mistakes
    for tile in [*right, *wrong]:
        assert tile.image.shape == (32, 32, 3)
        assert 0 <= tile.image.min() <= tile.image.max() <= 1
        assert tile.saliency.shape == (32, 32)
        assert 0 <= tile.saliency.min() <= tile.saliency.max() <= 1
    assert "of 360 test images right" in title
    assert path == run / "attention.png"
    assert str(path) in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_writes_the_contact_sheet(run, command, tmp_path):
    command(f"run={run}", "count=6", "split=validation", f"output={tmp_path / 'new' / 'sheet.png'}")
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.width > 1000
        assert np.asarray(sheet.convert("L")).std() > 20


@pytest.mark.slow
def test_the_sheet_width_follows_the_number_of_tiles(tmp_path):
    tile = attention_sheet.Tile(np.ones((8, 8, 3)), np.zeros((8, 8)), "a", "a", 1.0)
    widths = []
    for count in (1, 2, 4, 9):
        attention_sheet.draw_attention_sheet([], [tile] * count, "all", tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as sheet:
            widths.append(sheet.width)
    assert widths[1:] == [2 * widths[0], 4 * widths[0], 4 * widths[0]]
    for right, wrong in ((3, 1), (1, 3)):
        attention_sheet.draw_attention_sheet([tile] * right, [tile] * wrong, "", tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as sheet:
            assert sheet.width == 3 * widths[0]


@pytest.mark.parametrize("wrong", [0, 3])
def test_a_model_that_is_never_wrong_has_a_sheet_too(wrong, tmp_path):
    tile = attention_sheet.Tile(np.ones((8, 8, 3)), np.zeros((8, 8)), "a", "a", 1.0)
    attention_sheet.draw_attention_sheet([tile] * 5, [tile] * wrong, "all", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.height > 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run=nowhere"],
            "run: got nowhere, which does not exist, expected the directory of a run",
        ),
        ([], "run: got nothing, expected a value"),
        (["run=RUN", "split=tset"], "split: got 'tset', expected one of train, validation, test"),
        (["run=RUN", "count=0"], "count: got 0, expected a number in"),
        (["run=RUN", "cuont=3"], "cuont: got an unknown key"),
        (["run=RUN", "count=some"], "some"),
    ],
)
def test_a_mistake_is_one_message(run, command, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        command(*(argument.replace("RUN", str(run)) for argument in arguments))
    assert stopped.value.code.startswith("cait_finetune attention: ")
    assert message in stopped.value.code


@pytest.mark.parametrize("text", ["model: [", "dataset: {name: digits}", "model: {name: 3, x: 4}"])
def test_a_configuration_that_cannot_be_read(run, command, text, tmp_path):
    other = tmp_path / "run"
    (other / "checkpoints").mkdir(parents=True)
    (other / "checkpoints" / "best.safetensors").write_bytes(b"")
    (other / "config.yaml").write_text(text)
    with pytest.raises(SystemExit, match="a configuration that can be read"):
        command(f"run={other}")
