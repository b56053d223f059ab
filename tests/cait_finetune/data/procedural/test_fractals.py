"""Systems of contracting maps, and their images."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.data.procedural import fractals


@pytest.mark.parametrize("number", range(20))
def test_a_class_is_contracting_and_can_be_seen(number):
    maps = fractals.system(0, number)
    assert maps.shape[1:] == (2, 3)
    assert np.linalg.norm(maps[:, :, :2], ord=2, axis=(1, 2)).max() < 0.86
    image = fractals.draw(maps, np.random.default_rng(1), 32)
    assert image.shape == (32, 32)
    assert image.min() == 0
    assert image.max() == 1
    assert (image > 0).mean() > 0.05


def test_the_sierpinski_triangle():
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    maps = np.stack([np.hstack([np.eye(2) / 2, corner[:, None] / 2]) for corner in corners])
    image = fractals.draw(maps, np.random.default_rng(0), 16)
    lower_left = image[2:7, 2:7] > 0  # one of three copies of the whole
    assert lower_left.mean() > 0.5
    assert not image[10:, 10:].any()  # beyond the hypotenuse


def test_classes_differ_and_images_of_one_are_alike():
    rng = np.random.default_rng(0)

    def images(number: int, count: int = 12) -> np.ndarray:
        maps = fractals.system(0, number)
        drawn = [fractals.draw(fractals.changed(maps, rng), rng, 32) for _ in range(count)]
        return np.stack(drawn).reshape(count, -1)

    means = [images(number).mean(axis=0) for number in range(10)]
    hits = 0
    for number in range(10):
        for image in images(number, 6):
            hits += np.argmin([np.linalg.norm(image - mean) for mean in means]) == number
    assert hits > 40  # of 60; chance gives six
