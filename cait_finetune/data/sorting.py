"""Detect examples that are sorted by class: slices and small shuffle buffers then lack classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RUNS_SHARE = 0.55
_STANDARD_DEVIATIONS = 5.0
_WINDOW_SHARE = 0.75


def is_sorted(labels: np.ndarray) -> bool:
    """Return whether equal labels follow each other far more often than in a random order.

    The test is the runs test of Wald and Wolfowitz for several classes. `True`: the number of runs
    of equal labels is below 55 % of the number that a random order is expected to have, and more
    than five standard deviations below that expected number.

    Args:
        labels: ``(N,)``, or ``(N, C)`` zeros and ones. `True` needs only one sorted column.
    """
    if labels.ndim == 2:
        return any(is_sorted(column) for column in labels.T)
    size = len(labels)
    if size < 3:
        return False
    runs = 1 + int((labels[1:] != labels[:-1]).sum())
    counts = np.unique(labels, return_counts=True)[1].astype(np.float64)
    squares, cubes = (counts**2).sum(), (counts**3).sum()
    expected = 1 + size - squares / size
    variance = squares * (squares + size * (size + 1)) - 2 * size * cubes - size**3
    deviation = np.sqrt(max(0.0, variance / (size**2 * (size - 1))))
    return runs < _RUNS_SHARE * expected and runs < expected - _STANDARD_DEVIATIONS * deviation


def is_mixed(labels: np.ndarray, buffer: int) -> bool:
    """Return whether a shuffle buffer over examples in this order always holds enough classes.

    `False` in two cases. A run of one label is longer than the buffer, and a random order would not
    have this run. Or the order is sorted, and windows of `buffer` examples have on average less
    than three quarters of the classes that windows of a random order have.

    Args:
        labels: ``(N,)`` in the order of reading.
        buffer: number of examples in the shuffle buffer.
    """
    size = len(labels)
    if buffer >= size:
        return True
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = counts / size  # (C,)
    length, label = _longest_run(numbers)
    # If nearly all examples have one class, a random order also has a run longer than the buffer.
    if length > buffer and size * shares[label] ** buffer < 1e-3:
        return False
    if not is_sorted(labels):
        return True
    windows = numbers[: size // buffer * buffer].reshape(-1, buffer)
    found = np.mean([len(np.unique(window)) for window in windows])
    return found >= _WINDOW_SHARE * (1 - (1 - shares) ** buffer).sum()


def _longest_run(labels: np.ndarray) -> tuple[int, int]:
    """Return the length and the label of the longest run of equal labels."""
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    lengths = np.diff(np.append(starts, len(labels)))
    longest = int(lengths.argmax())
    return int(lengths[longest]), int(labels[starts[longest]])


def stored_order(ids: Sequence[str]) -> np.ndarray:
    """Return the rows ``(N,)`` of TFDS ids in the order of the files, not the order of reading.

    An id consists of the file's name, two underscores, and the example's number in the file.
    """

    def place(row: int) -> tuple[str, int]:
        name, _, number = ids[row].rpartition("__")
        return (name, int(number)) if number.isdecimal() else (ids[row], 0)

    return np.array(sorted(range(len(ids)), key=place), np.int64)
