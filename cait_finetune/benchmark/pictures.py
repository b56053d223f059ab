"""JPEG files to read, made on the spot: with the detail, and so the size, of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_OCTAVES = ((4, 60.0), (16, 30.0), (64, 12.0), (256, 5.0))  # cells across, and their contrast


def write_pictures(directory: Path, count: int, side: int, folders: int = 4) -> list[Path]:
    """`count` files in class folders, shorter side `side`, aspects from 1 to 1.5, quality 90."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        folder = directory / f"class_{number % folders}"
        folder.mkdir(parents=True, exist_ok=True)
        long = int(side * rng.uniform(1.0, 1.5))
        size = (side, long) if rng.random() < 0.3 else (long, side)  # width, height
        paths.append(folder / f"{number:05}.jpg")
        _picture(rng, size).save(paths[-1], quality=90)
    return paths


def _picture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Noise in several scales, each fainter than the coarser one, as in photographs."""
    total = np.full((size[1], size[0], 3), rng.uniform(60, 190, 3), np.float32)
    for cells, contrast in _OCTAVES:
        noise = rng.normal(128, 40, (cells, cells, 3)).clip(0, 255).astype("uint8")
        smooth = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(smooth, np.float32) - 128) * (contrast / 40)
    return Image.fromarray(total.clip(0, 255).astype("uint8"))
