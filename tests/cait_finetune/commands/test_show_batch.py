"""The picture of a batch shows the images that a run would train on."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from cait_finetune.commands import show_batch
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.load import load_source
from cait_finetune.data.pipeline import train_batches
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.report import batch_sheet
from tests.cait_finetune.stand_ins import checked

NAMES = ("rose", "tulip", "daisy")


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    def call(*arguments):
        words = ["show_batch", f"dataset.data_dir={tmp_path / 'data'}", *arguments]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        show_batch.main()
        return capsys.readouterr().out

    return call


@pytest.fixture
def drawn(monkeypatch):
    calls = []
    monkeypatch.setattr(batch_sheet, "draw_batch_sheet", lambda *arguments: calls.append(arguments))
    return calls


@pytest.mark.slow
def test_the_picture_is_in_the_directory_of_the_run(command, tmp_path):
    path = tmp_path / "run" / "batch.png"
    assert str(path) in command(
        f"hydra.run.dir={path.parent}", "augment=deit", "train.batch_size=6"
    )
    with Image.open(path) as sheet:
        assert sheet.width > 800
        assert np.asarray(sheet.convert("L")).std() > 20


@pytest.mark.slow
def test_the_images_are_those_that_training_gets(command, drawn, tmp_path):
    words = ["augment=rand", "seed=5", "train.batch_size=40"]
    command(*words)
    ((images, captions, title, _),) = drawn
    config = checked(f"dataset.data_dir={tmp_path / 'data'}", *words)
    source = load_source(config.dataset)
    preprocessing = Preprocessing(32, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
    expected, labels, _ = next(
        iter(
            train_batches(
                source=source,
                config=config.dataset,
                augmentation=config.augment,
                preprocessing=preprocessing,
                batch_size=40,
                seed=5,
                corrupt=CorruptImages("stop"),
            )
        )
    )
    assert len(images) == len(captions) == show_batch.MOST
    assert captions == [source.class_names[int(label)] for label in labels[: show_batch.MOST]]
    # The picture shows the data set's grey levels, without the model's normalisation.
    shown = expected.numpy()[: show_batch.MOST]
    assert np.corrcoef(shown.ravel(), images.ravel())[0, 1] == pytest.approx(1)
    assert 0 <= images.min() < images.max() <= 1
    assert title == "digits, augment=rand, 32 × 32, seed 5: the first 32 of a batch of 40"


@pytest.mark.parametrize(
    ("label", "several", "text"),
    [
        (1, False, "tulip"),
        ([0.7, 0.3, 0], False, "rose 70%\ntulip 30%"),
        ([0, 1, 0], False, "tulip"),
        ([0, 0.002, 0.998], False, "daisy"),  # the mixed-in box has two pixels
        ([0, 1.5, 0.5], False, "tulip 75%\ndaisy 25%"),  # an example of weight 2
        ([1, 0, 1], True, "rose\ndaisy"),
        ([1, 0, 0.4], True, "rose 100%\ndaisy 40%"),
        ([0, 0, 0], True, "no class"),
    ],
)
def test_a_caption_lists_the_classes_and_their_shares(label, several, text):
    assert show_batch.caption(np.array(label), NAMES, one_class=not several) == text


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ([0, 1, 0, 0, 1], "sky=light\nbar=c"),
        ([0, 2, 0, 2, 0], "sky=light\nbar=b"),  # an example of weight 2
        ([0.4, 0, 0.3, 0.1, 0], "sky=dark\nbar=a 75%\nbar=b 25%"),
        ([0, 0, 0, 0, 0.5], "bar=c"),  # the sky has no label
        ([0, 0, 0, 0, 0], "no class"),
    ],
)
def test_the_caption_of_several_labels(label, text):
    names = ("sky=dark", "sky=light", "bar=a", "bar=b", "bar=c")
    assert show_batch.several_caption(np.array(label), names) == text


@pytest.mark.slow
def test_the_captions_of_a_batch_have_each_label(command, drawn):
    command("dataset=leaning_digits", "train.batch_size=12")
    ((_, captions, _, _),) = drawn
    lines = [caption.split("\n") for caption in captions]
    assert all(one[0].startswith("digit=") and "%" not in one[0] for one in lines)
    assert {one[1] for one in lines if len(one) > 1} == {"direction=left", "direction=right"}


def test_the_caption_of_numbers():
    assert show_batch.number_caption(np.array([-37.14, 2e6]), ["angle", "mass"]) == (
        "angle -37.14\nmass 2e+06"
    )
    assert show_batch.number_caption(np.array([1.5, 0.25]), ["angle"]) == "angle 1.5\nweight 0.25"
