"""Textures as classes: noise of a direction and a scale, cut into levels.

A class is a spectrum and a cut; its images differ in the noise, and a little in scale and direction.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

_LONGEST, _SHORTEST = 16.0, 2.5  # pixels of a wave


@dataclasses.dataclass(frozen=True)
class Texture:
    """Waves of `frequency` cycles a pixel (± `spread`) at `angle` (± `width`, radians), each given
    to a power and cut into `levels`; 0 leaves them smooth."""

    frequency: float
    spread: float
    angle: float
    width: float
    power: float
    levels: int


@functools.lru_cache(maxsize=4096)
def texture(seed: int, number: int) -> Texture:
    """A class."""
    rng = np.random.default_rng([seed, 2, number])
    frequency = np.exp(rng.uniform(np.log(1 / _LONGEST), np.log(1 / _SHORTEST)))
    return Texture(
        frequency,
        frequency * rng.uniform(0.05, 0.5),
        rng.uniform(0, np.pi),
        rng.choice([0.08, 0.2, 0.5, 10.0]),  # the last has no direction
        rng.choice([0.5, 1.0, 2.0]),
        rng.choice([0, 2, 3]),
    )


def draw(kind: Texture, rng: np.random.Generator, size: int) -> np.ndarray:
    """An image of the class, (size, size) from 0 to 1."""
    y, x = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    frequency = kind.frequency * rng.uniform(0.9, 1.1)
    turned = angle - kind.angle - rng.normal(0, 0.06)
    off = np.abs((turned + np.pi / 2) % np.pi - np.pi / 2)  # a wave has no front
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
