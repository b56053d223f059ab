"""Check before training that each file is an image, and hash its content.

The check does not find truncated files: the decoder does. A search for a JPEG's end marker would not
find them reliably, because cameras and phones append previews, videos and tables to a JPEG.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf

from cait_finetune.data import bands as bands_reader
from cait_finetune.data import decode
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.hash_cache import HashCache, Stat
from cait_finetune.data.image_files.signatures import fault, is_deep_png
from cait_finetune.errors import bad_value, reason
from cait_finetune.runtime.progress import progress_bar

logger = logging.getLogger(__name__)

_SHOWN = 5
_SAMPLE = 64  # PNGs whose depth is read
_PNG_HEADER = 26  # bytes up to the depth and the colour type
# The threads mostly wait for a disk or a network. Further threads would wait for Python's GIL.
_THREADS = min(32, 4 * (os.cpu_count() or 8))
_AT_A_TIME = 256  # files per future: one future per file is slower than reading the file

T = TypeVar("T")
U = TypeVar("U")


def inspected(
    paths: Sequence[str], ids: Sequence[str], on_corrupt: str, bands: bool = False
) -> np.ndarray:
    """Hash the content of each file, and check by its first bytes that TensorFlow can decode it.

    Args:
        paths: N paths.
        ids: N names, for messages.
        on_corrupt: ``skip`` warns of files that cannot be read or decoded, ``stop`` raises an error.
        bands: as in `listing.is_image`.

    Returns:
        ``(N,)`` int64: the content hashes, -1 for a file that cannot be read or decoded.

    Raises:
        UserError: a file cannot be read or decoded, and `on_corrupt` is ``stop``.
    """
    if not len(paths):
        return np.zeros(0, np.int64)
    cache = HashCache(paths, bands)
    words = "checking files (dataset.check=false skips the check)"
    stats, found = zip(
        *in_threads(words, functools.partial(_look, cache, bands), paths), strict=True
    )
    hashes = [-1 if isinstance(what, str) else what for what in found]
    cache.keep(stats, hashes)
    bad = [(name, what) for name, what in zip(ids, found, strict=True) if isinstance(what, str)]
    if bad:
        shown = ", ".join(f"{name} ({what})" for name, what in bad[:_SHOWN])
        shown += f", … ({len(bad):,} in all)" if len(bad) > _SHOWN else ""
        if on_corrupt == "stop":
            raise bad_value(
                "dataset.data_dir",
                f"{len(bad):,} file{'s' * (len(bad) > 1)} that cannot be read: {shown}",
                f"images that TensorFlow decodes ({(bands_reader if bands else decode).FORMATS})",
                "Repair or remove these files, or add dataset.on_corrupt=skip",
            )
        logger.warning("files that cannot be read are left out: %s", shown)
    return np.array(hashes, np.int64)


def deep_pngs(paths: Sequence[str]) -> int:
    """Return how many of a sample of the files are PNGs with 16 bits a channel."""
    pngs = [path for path in paths if path.lower().endswith(".png")]
    return sum(map(_is_deep, pngs[:: -(-len(pngs) // _SAMPLE) or 1]))


def _is_deep(path: str) -> bool:
    try:
        with storage.opened(path) as file:
            return is_deep_png(file.read(_PNG_HEADER))
    except (OSError, tf.errors.OpError):
        return False


def in_threads(words: str, work: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """Call `work` on each item in threads and return the results in order.

    Args:
        words: label of the progress bar, which a terminal shows.
    """
    groups = [items[at : at + _AT_A_TIME] for at in range(0, len(items), _AT_A_TIME)]
    done: list[U] = []
    with ThreadPoolExecutor(_THREADS) as pool, progress_bar(words, len(items), unit="files") as bar:
        for group in pool.map(lambda group: [work(item) for item in group], groups):
            done += group
            bar(len(group))
    return done


def _look(cache: HashCache, bands: bool, path: str) -> tuple[Stat, int | str]:
    """Return size and times of a file, and its content hash or a phrase that names its fault."""
    stat: Stat = ()
    try:
        stat = storage.size_and_times(path)  # before reading: the file may change meanwhile
        known = cache.get(path, stat)
        if known is not None:
            return stat, known
        content = storage.read(path)
    except OSError as error:
        return stat, error.strerror or str(error)
    except tf.errors.OpError as error:
        return stat, reason(error)
    wrong = fault(content, bands) if content else "empty"
    digest = hashlib.sha1(content, usedforsecurity=False).digest()
    return stat, wrong or int.from_bytes(digest[:8], "big") >> 1
