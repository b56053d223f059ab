"""Advice for files of bands that are listed while `model.in_channels` is 3."""

from __future__ import annotations

from collections.abc import Sequence

from cait_finetune.data.bands import RGB, count_channels
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.listing import BANDS_ENDINGS, ENDINGS
from cait_finetune.data.tiff import is_tiff, to_npy

#: Extensions of files that are read only if an image has another number of channels than 3.
_OWN = tuple(ending for ending in BANDS_ENDINGS if ending not in ENDINGS)


def of_bands(paths: Sequence[str]) -> list[str]:
    """Return the sorted paths that are read only with another `model.in_channels` than 3."""
    return sorted(path for path in paths if path.lower().endswith(_OWN))


def channels_advice(paths: Sequence[str]) -> str:
    """Return a line that tells how to read files of bands, from the channels of the first.

    Args:
        paths: paths of files. Without files of bands, the function returns an empty text.
    """
    files = of_bands(paths)
    if not files:
        return ""
    channels = _channels(files[0])
    if channels == RGB:
        return "Convert images of 3 channels to PNG: NPY and TIFF are read with other numbers."
    return f"Set model.in_channels={channels or 'N, the number of their channels'}."


def _channels(path: str) -> int | None:
    """Return the number of channels of a file. `None`: it cannot be read."""
    try:
        data = storage.read(path)
        return int(count_channels(to_npy(data) if is_tiff(data) else data))
    except Exception:  # advice must not hide the error that it accompanies
        return None
