"""Fractals as classes: attractors of random iterated function systems.

After Kataoka et al. 2020, "Pre-training without Natural Images", https://arxiv.org/abs/2101.08515: a
class is a system, and its images are what comes of small changes to the system's numbers.
"""

from __future__ import annotations

import functools

import numpy as np

_CHAINS, _STEPS, _DROPPED = 256, 40, 10
_LEAST, _MOST = 0.08, 0.6  # of the pixels that a system's points must reach, to be a class
_CHANGE = 0.15  # of an image's numbers, in parts of the class's


@functools.lru_cache(maxsize=4096)
def system(seed: int, number: int) -> np.ndarray:
    """The maps of a class, (maps, 2, 3): the first that fills enough, and not all, of a square."""
    rng = np.random.default_rng([seed, 1, number])
    while True:
        maps = rng.uniform(-1, 1, (rng.integers(2, 7), 2, 3))
        # Contracting, so that there is an attractor.
        norms = np.linalg.norm(maps[:, :, :2], ord=2, axis=(1, 2), keepdims=True)
        maps[:, :, :2] *= rng.uniform(0.3, 0.85, norms.shape) / norms
        share = (draw(maps, np.random.default_rng(0), 32) > 0).mean()
        if _LEAST < share < _MOST:
            return maps


def changed(maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another image of the class: each number a little larger or smaller."""
    return maps * rng.uniform(1 - _CHANGE, 1 + _CHANGE, maps.shape)


def draw(maps: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Where points come to when the maps are applied in random order, (size, size) from 0 to 1."""
    points = np.zeros((_CHAINS, 2))
    weights = np.abs(np.linalg.det(maps[:, :, :2])) + 0.01  # larger parts get more points
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
