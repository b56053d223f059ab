"""Turn a shape into an image: bend it, colour it, add a background, and degrade the result.

Shapes are ``(S, S)`` from 0 to 1. Images are ``(S, S, 3)`` from about 0 to 1 until `worn` clips them.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

_FINE = 2  # a letter is drawn and bent at this multiple of the image size


def placed(glyph: Image.Image, rng: np.random.Generator, size: int) -> np.ndarray:
    """Place a letter in a square, ``(size, size)``: shifted, stretched, thicker or thinner, and bent."""
    side = size * _FINE
    share = rng.uniform(0.55, 1.0)
    scale = side * share / max(glyph.size)
    stretch = np.exp(rng.normal(0, 0.15, 2))
    shape = [
        max(1, round(length * scale * by)) for length, by in zip(glyph.size, stretch, strict=True)
    ]
    shape = [min(side, length) for length in shape]
    square = Image.new("L", (side, side))
    rest = [side - length for length in shape]
    middle = [room / 2 + rng.uniform(-0.35, 0.35) * room for room in rest]
    square.paste(
        glyph.resize(shape, Image.Resampling.BILINEAR), (round(middle[0]), round(middle[1]))
    )
    thickness = rng.random()
    if thickness < 0.3:
        square = square.filter(ImageFilter.MaxFilter(3))
    elif thickness > 0.9:
        square = square.filter(ImageFilter.MinFilter(3))
    return halved(bent(np.asarray(square) / 255, rng))


def bent(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate a shape by up to 20 degrees, slant it and warp it by a smooth field. Outside is 0."""
    side = len(shape)
    turn, slant = rng.uniform(-0.35, 0.35), rng.uniform(-0.3, 0.3)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = matrix @ np.array([[1.0, 0.0], [slant, 1.0]])
    grid = np.indices((side, side)) - (side - 1) / 2  # (2, side, side)
    where = np.einsum("ij,jyx->iyx", matrix, grid) + (side - 1) / 2
    pull = rng.normal(0, rng.uniform(0, 0.05) * side, (2, 4, 4))
    where += ndimage.zoom(pull, (1, side / 4, side / 4), order=1)
    return ndimage.map_coordinates(shape, where, order=1, mode="constant")


def halved(shape: np.ndarray) -> np.ndarray:
    """Return the means of 2x2 pixels, ``(S / 2, S / 2)``."""
    half = len(shape) // _FINE
    return shape.reshape(half, _FINE, half, _FINE).mean(axis=(1, 3))


def coloured(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give the shape and the background two colours, ``(S, S, 3)``; half of the images are grey.

    The background may be uneven. Values may be below 0 or above 1.
    """
    colours = rng.random((2, 3)) if rng.random() < 0.5 else np.repeat(rng.random((2, 1)), 3, axis=1)
    front, back = colours
    contrast = np.abs(front.mean() - back.mean())
    if contrast < 0.35:  # a model cannot learn from an invisible shape
        back = front + (0.5 if front.mean() < 0.5 else -0.5)
    ground = np.broadcast_to(back, (*shape.shape, 3))
    if rng.random() < 0.4:
        ground = ground + _clouds(rng, len(shape))[..., None] * rng.uniform(0.05, 0.3)
    mask = shape[..., None]
    return mask * front + (1 - mask) * ground


def worn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lower the resolution or blur at random, and add noise at random. Return ``(S, S, 3)`` uint8."""
    size = len(image)
    picture = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
    if rng.random() < 0.3:
        coarse = int(rng.integers(size // 4, size))
        picture = picture.resize((coarse, coarse), Image.Resampling.BOX)
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    elif rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    worn = np.asarray(picture, dtype=float)
    if rng.random() < 0.3:
        worn = worn + rng.normal(0, rng.uniform(2, 20), worn.shape)
    return worn.round().clip(0, 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    return ndimage.zoom(rng.normal(0, 1, (4, 4)), size / 4, order=1)
