"""Noise with a spectrum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cait_finetune.data.procedural.textures import Texture, draw, texture

WAVES = Texture(frequency=1 / 8, spread=0.005, angle=0.0, width=0.05, power=1.0, levels=0)


@pytest.mark.parametrize("angle", [0.0, np.pi / 2])
def test_waves_have_their_length_and_direction(angle):
    image = draw(dataclasses.replace(WAVES, angle=angle), np.random.default_rng(0), 64)
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    y, x = np.unravel_index(power.argmax(), power.shape)
    along, across = (x, y) if angle == 0 else (y, x)
    assert min(along, 64 - along) == pytest.approx(8, abs=1)
    assert min(across, 64 - across) <= 1


@pytest.mark.parametrize("levels", [2, 3])
def test_levels_are_equally_frequent(levels):
    image = draw(dataclasses.replace(WAVES, levels=levels), np.random.default_rng(0), 64)
    values, counts = np.unique(image, return_counts=True)
    np.testing.assert_allclose(values, np.arange(levels) / (levels - 1))
    np.testing.assert_allclose(counts / counts.sum(), 1 / levels, atol=0.01)


@pytest.mark.parametrize("number", range(20))
def test_classes_draw_in_range(number):
    image = draw(texture(0, number), np.random.default_rng(number), 32)
    assert image.shape == (32, 32)
    assert image.min() == 0
    assert image.max() == 1
