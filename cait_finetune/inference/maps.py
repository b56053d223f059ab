"""Draw each image beside its class saliency map."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cait_finetune.errors import bad_value
from cait_finetune.report.overlay import overlay
from cait_tf.atomic import atomic_open

_LEAST = 192  # pixels: smaller images are enlarged by a whole factor


def draw_maps(
    saliency: Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]], places: dict[Path, Path]
) -> None:
    """Write one PNG per image file: the preprocessed image, and the same image under its map.

    Args:
        saliency: function from the bytes of B files to images ``(B, H, W, 3)`` and maps
            ``(B, H, W)``, both from 0 to 1.
        places: the PNG to write for each image file. The files form one batch.

    Raises:
        UserError: a PNG cannot be written.
    """
    if not places:
        return
    images, maps = saliency([path.read_bytes() for path in places])
    for image, heat, place in zip(images, maps, places.values(), strict=True):
        both = np.concatenate([image, overlay(image, heat)], axis=1)  # (S, 2 S, 3)
        pixels = np.round(255 * both).astype("uint8")
        for axis in (0, 1):
            pixels = pixels.repeat(max(1, _LEAST // len(image)), axis)
        data = tf.io.encode_png(pixels).numpy()
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_open(place, "wb") as file:
                file.write(data)
        except OSError as error:
            raise bad_value(
                "maps", place, f"a file that can be written ({error.strerror})"
            ) from error


def places_of(files: Sequence[Path], directory: Path) -> list[Path]:
    """Return the path of the PNG for each image file.

    The path below `directory` is the file's path below the deepest common folder of all files, with
    ``.png`` added. The file's extension stays, because ``rose.jpg`` may lie beside ``rose.png``.
    """
    absolute = [Path(os.path.abspath(path)) for path in files]
    common = Path(os.path.commonpath([path.parent for path in absolute]))
    return [directory / f"{path.relative_to(common)}.png" for path in absolute]


def note_on_earlier_maps(directory: Path, places: Sequence[Path]) -> str:
    """Return a line about the pictures of an earlier command in `directory`. Empty: there are none.

    A picture's path depends on all images of its command, so an earlier picture at the same path
    may show another image.
    """
    there = {path for path in directory.rglob("*.png") if path.is_file()}
    if not there:
        return ""
    replaced = len(there.intersection(places))
    return (
        f"maps   {directory} has {len(there):,} pictures of an earlier command: {replaced:,} are replaced, "
        f"{len(there) - replaced:,} stay"
    )
