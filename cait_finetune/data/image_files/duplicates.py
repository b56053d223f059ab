"""Find image files that occur twice: in two splits, or under two labels.

In the first case the model is tested on training images. In the second, one label is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from cait_finetune.data.image_files.files import Files
from cait_finetune.data.source import SPLITS
from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.target import Target

logger = logging.getLogger(__name__)

_SHOWN = 3


def warn_of_duplicates(
    files: Files,
    rows: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    target: Target = ONE_CLASS,
) -> None:
    """Warn once of files in two splits, and once of files with two labels in the same split.

    Args:
        files: all files, with content hashes.
        rows: for each split, its rows in `files`.
        class_names: names in label order.
        target: the kind of label.
    """
    split_of = np.full(len(files), -1)
    for number, split in enumerate(SPLITS):
        split_of[rows[split]] = number
    kind_of = split_of + len(SPLITS) * _label_numbers(files.labels)
    suspects = _of_several_kinds(np.flatnonzero(split_of >= 0), files.content_hashes, kind_of)
    first: dict[int, int] = {}
    across, contradictions = [], []
    for row in suspects[np.argsort(split_of[suspects], kind="stable")]:
        original = first.setdefault(int(files.content_hashes[row]), int(row))
        if split_of[original] != split_of[row]:
            across.append((original, row))
        elif kind_of[original] != kind_of[row]:
            contradictions.append((original, row))

    def shown(pairs: Sequence[tuple[int, int]]) -> str:
        words = [_pair(files, class_names, target, *pair) for pair in pairs[:_SHOWN]]
        return ", ".join([*words, "…"] if len(pairs) > _SHOWN else words)

    if across:
        later = [SPLITS[number] for number in sorted({int(split_of[b]) for _, b in across})]
        logger.warning(
            "%s in two splits: %s; the %s accuracy will be too high",
            "1 image is" if len(across) == 1 else f"{len(across):,} images are",
            shown(across),
            " and ".join(later),
        )
    if contradictions:
        logger.warning(
            "%s listed twice with two labels: %s; remove the wrong one of each",
            "1 image is" if len(contradictions) == 1 else f"{len(contradictions):,} images are",
            shown(contradictions),
        )


def _label_numbers(labels: np.ndarray) -> np.ndarray:
    """Return a number for each file, ``(N,)`` int64. Equal labels have equal numbers."""
    if labels.ndim == 1:
        return labels.astype(np.int64)
    rows = np.ascontiguousarray(labels)  # (N, C)
    number: dict[bytes, int] = {}
    return np.array([number.setdefault(row.tobytes(), len(number)) for row in rows], np.int64)


def _pair(files: Files, class_names: Sequence[str], target: Target, one: int, other: int) -> str:
    """Return ``a.jpg = b.jpg``, with the labels of both if the labels differ."""
    if np.array_equal(files.labels[one], files.labels[other]):
        return f"{files.ids[one]} = {files.ids[other]}"

    def labelled(row: int) -> str:
        texts = target.label_texts(files.labels[row], class_names)
        return f"{files.ids[row]} ({', '.join(texts) or 'no class'})"

    return f"{labelled(one)} = {labelled(other)}"


def _of_several_kinds(rows: np.ndarray, keys: np.ndarray, kind_of: np.ndarray) -> np.ndarray:
    """Return the rows whose key also occurs in a row with another kind (split and label)."""
    number = np.unique(keys[rows], return_inverse=True)[1]
    count = number.max(initial=-1) + 1
    low, high = np.full(count, kind_of.max(initial=0) + 1), np.full(count, -1)
    np.minimum.at(low, number, kind_of[rows])
    np.maximum.at(high, number, kind_of[rows])
    return rows[(low < high)[number]]
