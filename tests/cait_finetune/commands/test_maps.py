"""The command `maps`, which draws a published model's attention maps."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from PIL import Image

from cait_finetune.commands import maps
from cait_tf import attention_maps, create_model, save_weights
from cait_tf.convert import convert

OWN = ("images=photo.png", "model=cait_nano_32", "weights=mine.safetensors")


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Return a function that runs the command beside a photograph."""
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["maps", *words])
        maps.main()

    return run


def test_the_command_writes_three_images(command, tmp_path, capsys):
    command(
        "images=photo.png", "model=cait_nano_32", "weights=none", "image_size=[32,64]", "out=maps"
    )
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert (tmp_path / "maps" / "photo_rollout.png").is_file()


@pytest.mark.slow
def test_a_custom_head_needs_its_own_class_list(command, tmp_path):
    save_weights(create_model("cait_nano_32", num_classes=3), tmp_path / "mine.safetensors")
    (tmp_path / "classes.txt").write_text("one\ntwo\nthree\n")
    command(*OWN, "classes=classes.txt")
    assert (tmp_path / "attention_maps" / "photo_saliency.png").is_file()
    with pytest.raises(SystemExit, match="classes: got 1000 class names: new head for 1000"):
        command(*OWN)


def test_the_names_that_weights_state(command, tmp_path, monkeypatch):
    model = create_model("cait_nano_32", num_classes=3)
    save_weights(model, tmp_path / "mine.safetensors", {"classes": "one\ntwo\nthree"})
    named = []
    monkeypatch.setattr(
        attention_maps,
        "write_maps",
        lambda model, path, out, names, crop, *_: named.append(names) or [],
    )
    command(*OWN)
    (tmp_path / "same.txt").write_text("one\ntwo\nthree\n")
    squashed = {"preprocessing": json.dumps({"resize_mode": "squash", "crop_pct": 1.0})}
    save_weights(model, tmp_path / "squash.safetensors", squashed)
    with pytest.raises(SystemExit, match="prepared with resize_mode squash, expected"):
        command(*OWN[:2], "weights=squash.safetensors", "classes=same.txt")
    command(*OWN, "classes=same.txt")
    assert named == [("one", "two", "three")] * 2
    (tmp_path / "classes.txt").write_text("three\ntwo\none\n")
    with pytest.raises(SystemExit, match=r"whose names or order differ from those in mine"):
        command(*OWN, "classes=classes.txt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["images=no.jpg"],
            "images: got no.jpg, which does not exist, expected a file, a glob, or a folder",
        ),
        (["images=classes"], "image: got classes, expected a JPEG, PNG or other image file"),
        (["images=photo.png", "model=cait_s24_244"], "did you mean 'cait_s24_224'"),
        (
            ["images=photo.png", "image_size=33", "model=cait_nano_32", "weights=none"],
            "image_size: got 33, expected a multiple of cait_nano_32's patch size 4, for instance 32",
        ),
        (["images=photo.png", "image_size=[1,2,3]"], "image_size: got [1, 2, 3], expected one"),
        (["images=photo.png", "image_size=64x48"], "Write 'image_size=[64,48]'"),
        (["images=photo.png", "image_size=0"], "image_size: got 0, expected a number in [1"),
        (["images=photo.png", "classes=no.txt"], "classes: got no.txt, expected a text file"),
        (["photo.png"], "write images=photo.png"),
    ],
)
def test_a_mistake_is_one_message(command, tmp_path, words, message):
    (tmp_path / "classes").write_text("no image")
    with pytest.raises(SystemExit) as stopped:
        command(*words)
    assert stopped.value.code.startswith("cait_finetune maps: ")
    assert message in stopped.value.code


def test_images_of_one_name_have_maps_of_their_own(tmp_path):
    paths = [tmp_path / "a/1.png", tmp_path / "b/1.png", tmp_path / "b/1.jpg", tmp_path / "b/2.png"]
    assert maps._stems(paths) == ["a_1.png", "b_1.png", "b_1.jpg", "2"]
    assert maps._stems(paths[:1]) == ["1"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".safetensors", ".keras"])
def test_a_preparation_that_maps_cannot_apply_is_refused(command, ending, capsys):
    stated = {"preprocessing": json.dumps({"resize_mode": "pad"})}
    save_weights(create_model("cait_nano_32", 2), "mine.safetensors", stated)
    if ending == ".keras":
        convert("mine.safetensors", "mine.keras")
    with pytest.raises(SystemExit, match="prepared with resize_mode pad, expected the preparation"):
        command("images=photo.png", "model=cait_nano_32", f"weights=mine{ending}")
