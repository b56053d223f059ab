"""Fractals as classes: attractors of random iterated function systems.

After Kataoka et al. 2020, "Pre-training without Natural Images", https://arxiv.org/abs/2101.08515. A
class is a system. The images of the class come from systems with slightly different coefficients.
"""

from __future__ import annotations

import functools

import numpy as np

_CHAINS, _STEPS, _DROPPED = 256, 40, 10
_LEAST, _MOST = 0.08, 0.6  # bounds of the share of pixels that a class covers
_CHANGE = 0.15  # largest relative change of a coefficient from a class to its images


@functools.lru_cache(maxsize=4096)
def system(seed: int, number: int) -> np.ndarray:
    """Return the affine maps of a class, ``(maps, 2, 3)``.

    The function draws systems until one fills a share of the square between `_LEAST` and `_MOST`.

    Args:
        seed: seed of the data set.
        number: number of the class.
    """
    rng = np.random.default_rng([seed, 1, number])
    while True:
        maps = rng.uniform(-1, 1, (rng.integers(2, 7), 2, 3))
        # Contracting maps have an attractor.
        norms = np.linalg.norm(maps[:, :, :2], ord=2, axis=(1, 2), keepdims=True)
        maps[:, :, :2] *= rng.uniform(0.3, 0.85, norms.shape) / norms
        share = (draw(maps, np.random.default_rng(0), 32) > 0).mean()
        if _LEAST < share < _MOST:
            return maps


def changed(maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the maps of one image of the class: each coefficient is a little larger or smaller."""
    return maps * rng.uniform(1 - _CHANGE, 1 + _CHANGE, maps.shape)


def draw(maps: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw the attractor of `maps`, ``(size, size)`` from 0 to 1.

    The maps move points in random order. A pixel is the scaled logarithm of its number of points.
    """
    points = np.zeros((_CHAINS, 2))
    weights = np.abs(np.linalg.det(maps[:, :, :2])) + 0.01  # maps onto larger areas get more points
    choices = rng.choice(len(maps), (_STEPS, _CHAINS), p=weights / weights.sum())
    seen = []
    for step, choice in enumerate(choices):
        chosen = maps[choice]  # (chains, 2, 3)
        points = np.einsum("cij,cj->ci", chosen[:, :, :2], points) + chosen[:, :, 2]
        if step >= _DROPPED:
            seen.append(points)
    cloud = np.concatenate(seen)  # (points, 2)
    low, high = cloud.min(axis=0), cloud.max(axis=0)
    span = max(float((high - low).max()), 1e-9)
    cells = ((cloud - (low + high) / 2) / span * (size - 1) * 0.95 + size / 2).astype(int)
    counts = np.zeros((size, size))
    np.add.at(counts, (cells[:, 1].clip(0, size - 1), cells[:, 0].clip(0, size - 1)), 1)
    lit = np.log1p(counts)
    return lit / lit.max()
