"""The same image file in two splits: a model is then tested on what it has learnt by heart."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from cait_finetune.data.own_images import storage
from cait_finetune.data.own_images.inspection import in_threads
from cait_finetune.data.source import ROLES

logger = logging.getLogger(__name__)

_TAIL = 4096  # bytes: images of one camera begin alike, and end differently
_SHOWN = 3


def warn_of_leaks(
    paths: Sequence[str], ids: Sequence[str], sizes: np.ndarray, rows: Mapping[str, np.ndarray]
) -> None:
    """One warning, if files of one split are in an earlier one, too.

    Files are read only where others of the same size are in another split; most of them but at
    their ends.

    Args:
        sizes: in bytes, ``(N,)``.
        rows: of each split.
    """
    role_of = np.full(len(paths), -1)
    for number, role in enumerate(ROLES):
        role_of[rows[role]] = number
    suspects = _in_two_splits(np.flatnonzero(role_of >= 0), sizes, role_of)
    content = np.zeros(len(paths), np.int64)
    for fingerprint in (_of_end, _of_all):
        if not len(suspects):
            return
        items = [(paths[row], int(sizes[row])) for row in suspects]
        found = in_threads("comparing files of the same size", fingerprint, items)
        content[suspects] = np.unique(np.array(found), return_inverse=True)[1]
        suspects = _in_two_splits(suspects, content, role_of)
    if not len(suspects):
        return
    first: dict[int, int] = {}
    pairs = []
    for row in suspects[np.argsort(role_of[suspects], kind="stable")]:
        original = first.setdefault(int(content[row]), int(row))
        if role_of[original] != role_of[row]:
            pairs.append((original, row))
    shown = ", ".join(f"{ids[a]} = {ids[b]}" for a, b in pairs[:_SHOWN])
    later = [ROLES[number] for number in sorted({int(role_of[b]) for _, b in pairs})]
    logger.warning(
        "%s in two splits: %s%s; the %s accuracy will be too high",
        "1 image is" if len(pairs) == 1 else f"{len(pairs):,} images are",
        shown,
        ", …" if len(pairs) > _SHOWN else "",
        " and ".join(later),
    )


def _in_two_splits(rows: np.ndarray, keys: np.ndarray, role_of: np.ndarray) -> np.ndarray:
    """Those of the rows whose key is in another split, too."""
    number = np.unique(keys[rows], return_inverse=True)[1]
    count = number.max(initial=-1) + 1
    low, high = np.full(count, len(ROLES)), np.full(count, -1)
    np.minimum.at(low, number, role_of[rows])
    np.maximum.at(high, number, role_of[rows])
    return rows[(low < high)[number]]


def _of_end(file_and_size: tuple[str, int]) -> bytes:
    path, size = file_and_size
    with storage.opened(path) as file:
        file.seek(max(0, size - _TAIL))
        return hashlib.sha256(b"%d " % size + file.read(_TAIL)).digest()


def _of_all(file_and_size: tuple[str, int]) -> bytes:
    digest = hashlib.sha256()
    with storage.opened(file_and_size[0]) as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.digest()
