import math

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.report.curves import draw_curves


def records(epochs: int, steps_per_epoch: int = 4, level: float = 1.0):
    steps = [
        {"kind": "step", "step": n + 1, "learning_rate": 1e-3 * math.cos(n / 50)}
        for n in range(epochs * steps_per_epoch)
    ]
    of_epochs = [
        {
            "kind": "epoch",
            "epoch": n + 1,
            "train_loss": level / (n + 1),
            "train_accuracy": 1 - 0.5 / (n + 1),
            "validation_loss": 1.2 * level / (n + 1),
            "validation_top1": 1 - 0.6 / (n + 1),
        }
        for n in range(epochs)
    ]
    return steps, of_epochs


def pixels(path) -> np.ndarray:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return tf.io.decode_png(data, channels=3).numpy()


@pytest.mark.parametrize("epochs", [1, 2, 12])
def test_a_picture_of_sensible_size_with_something_on_it(tmp_path, epochs):
    draw_curves(*records(epochs), "digits: test top-1 98.00%", tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    height, width, _ = picture.shape
    assert 300 <= height <= 1200
    assert 900 <= width <= 3000
    thirds = np.split(picture[:, : width // 3 * 3], 3, axis=1)
    for third in thirds:  # each panel has dark pixels and a coloured curve
        assert (third < 128).any()
        spread = third.max(-1).astype(int) - third.min(-1)
        assert (spread > 60).sum() > 20
    assert (picture == 255).mean() > 0.5


@pytest.mark.slow
def test_the_picture_shows_the_numbers(tmp_path):
    draw_curves(*records(3), "same title", tmp_path / "one.png")
    draw_curves(*records(3, level=5.0), "same title", tmp_path / "two.png")
    one, two = pixels(tmp_path / "one.png"), pixels(tmp_path / "two.png")
    third = min(one.shape[1], two.shape[1]) // 3
    assert not np.array_equal(one[:, :third], two[:, :third])


def test_a_long_title_and_signs_of_mathtext_do_not_break_it(tmp_path):
    draw_curves(*records(2), "a_set, 100 % at $5 ^ 2: " + "long " * 60, tmp_path / "curves.png")
    assert pixels(tmp_path / "curves.png").size
