"""Whether examples come sorted by class, which slices and small shuffle buffers cannot stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RUNS_SHARE = 0.55
_STANDARD_DEVIATIONS = 5.0
_WINDOW_SHARE = 0.75


def is_sorted(labels: np.ndarray) -> bool:
    """Say whether equal labels follow each other far more often than in a random order.

    True where the runs of equal labels are fewer than 55 % of those that a random order
    has, and fewer by five standard deviations (Wald and Wolfowitz' test for several classes).

    Args:
        labels: ``(N,)``, or ``(N, C)`` zeros and ones, of which one sorted class is enough.
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
    """Say whether a shuffle buffer over examples in this order always holds enough classes.

    False where a run of one label is longer than the buffer; or where the order is sorted and
    `buffer` examples in a row have, on average, less than three quarters of the classes that they
    would have in a random order.

    Args:
        labels: ``(N,)`` in the order of reading.
    """
    size = len(labels)
    if buffer >= size:
        return True
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = counts / size  # (C,)
    length, label = _longest_run(numbers)
    # Where nearly all examples are of one class, a random order has such a run, too.
    if length > buffer and size * shares[label] ** buffer < 1e-3:
        return False
    if not is_sorted(labels):
        return True
    windows = numbers[: size // buffer * buffer].reshape(-1, buffer)
    found = np.mean([len(np.unique(window)) for window in windows])
    return found >= _WINDOW_SHARE * (1 - (1 - shares) ** buffer).sum()


def _longest_run(labels: np.ndarray) -> tuple[int, int]:
    """Return how long the longest run of equal labels is, and that label."""
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    lengths = np.diff(np.append(starts, len(labels)))
    longest = int(lengths.argmax())
    return int(lengths[longest]), int(labels[starts[longest]])


def stored_order(ids: Sequence[str]) -> np.ndarray:
    """Return the rows ``(N,)`` of TFDS ids in the order of the files, however they were read.

    An id is a file's name, two underscores, and the number of the example in the file.
    """

    def place(row: int) -> tuple[str, int]:
        name, _, number = ids[row].rpartition("__")
        return (name, int(number)) if number.isdecimal() else (ids[row], 0)

    return np.array(sorted(range(len(ids)), key=place), np.int64)
