"""Textures as classes: noise with a direction and a scale, some quantised to a few levels.

A class is a spectrum, an exponent of the grey values and a number of levels. Its images differ in
the noise, and slightly in scale and direction.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

_LONGEST, _SHORTEST = 16.0, 2.5  # wavelengths in pixels


@dataclasses.dataclass(frozen=True)
class Texture:
    """A class.

    Attributes:
        frequency: mean frequency of the waves, in cycles per pixel.
        spread: standard deviation of the frequency.
        angle: mean direction of the waves, in radians.
        width: standard deviation of the direction, in radians.
        power: exponent of the grey values, before quantisation.
        levels: number of grey levels. 0: do not quantise.
    """

    frequency: float
    spread: float
    angle: float
    width: float
    power: float
    levels: int


@functools.lru_cache(maxsize=4096)
def texture(seed: int, number: int) -> Texture:
    """Sample the class `number` of the data set with this seed."""
    rng = np.random.default_rng([seed, 2, number])
    frequency = np.exp(rng.uniform(np.log(1 / _LONGEST), np.log(1 / _SHORTEST)))
    return Texture(
        frequency,
        frequency * rng.uniform(0.05, 0.5),
        rng.uniform(0, np.pi),
        rng.choice([0.08, 0.2, 0.5, 10.0]),  # width 10: all directions
        rng.choice([0.5, 1.0, 2.0]),
        rng.choice([0, 2, 3]),
    )


def draw(kind: Texture, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw an image of the class, ``(size, size)`` from 0 to 1."""
    y, x = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    frequency = kind.frequency * rng.uniform(0.9, 1.1)
    turned = angle - kind.angle - rng.normal(0, 0.06)
    off = np.abs((turned + np.pi / 2) % np.pi - np.pi / 2)  # opposite directions are the same wave
    amplitude = np.exp(-0.5 * ((radius - frequency) / kind.spread) ** 2)
    amplitude *= np.exp(-0.5 * (off / kind.width) ** 2)
    waves = amplitude * np.exp(2j * np.pi * rng.random((size, size)))
    image = np.fft.ifft2(waves).real
    image = (image - image.min()) / max(float(np.ptp(image)), 1e-12)
    image = image**kind.power
    if kind.levels:
        edges = np.quantile(image, np.arange(1, kind.levels) / kind.levels)
        image = np.digitize(image, edges) / (kind.levels - 1)
    return image
