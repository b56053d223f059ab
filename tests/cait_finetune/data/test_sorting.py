"""Sorted labels are distinguished from labels in random order."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.data.sorting import is_mixed, is_sorted, stored_order

CLASSES = {
    "two": [50, 50],
    "ten": [30] * 10,
    "rare": [190, 6, 4],
    "few": [7, 7, 6],
    "many": [2] * 200,
}


def in_order(counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("counts", CLASSES.values(), ids=CLASSES)
def test_sorted_labels_are_sorted_and_random_ones_are_not(counts):
    labels = in_order(counts)
    rng = np.random.default_rng(0)
    assert is_sorted(labels)
    assert is_sorted(labels[::-1])
    assert not any(is_sorted(rng.permutation(labels)) for _ in range(1000))


def test_sorted_labels_read_from_sixteen_files_in_turn_count_as_sorted():
    """Read sixteen examples of each file in turn, as TFDS does."""
    labels = in_order([200] * 50).reshape(16, -1)  # (files, examples)
    read = np.concatenate([labels[:, at : at + 16].ravel() for at in range(0, labels.shape[1], 16)])
    assert is_sorted(read)


@pytest.mark.parametrize("labels", [[], [0], [0, 1], [0] * 50, [0, 1, 2], [0, 0, 1], [0, 1] * 20])
def test_small_single_class_or_alternating_labels_are_not_sorted(labels):
    assert not is_sorted(np.array(labels, int))


def test_several_labels_are_sorted_where_one_class_is():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (120, 3)).astype("float32")
    assert not is_sorted(labels)
    labels[:, 1] = np.sort(labels[:, 1])
    assert is_sorted(labels)


def test_a_buffer_has_to_hold_more_than_a_class_or_two():
    labels = in_order([100] * 20)
    assert not is_mixed(labels, 50)
    assert not is_mixed(labels, 400)  # holds only four of twenty classes
    assert is_mixed(labels, 2000)
    assert is_mixed(labels, 1999)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert all(is_mixed(shuffled, buffer) for buffer in (2, 50, 400))


def test_a_run_longer_than_the_buffer_is_not_mixed_though_all_else_is():
    rng = np.random.default_rng(0)
    labels = np.concatenate([rng.integers(0, 10, 900), np.zeros(100, int)])
    assert not is_sorted(labels)
    assert not is_mixed(labels, 64)
    assert is_mixed(labels, 128)


def test_long_runs_of_a_dominant_class_count_as_mixed():
    labels = np.zeros(2000, int)
    labels[[400, 1200, 1900]] = 1
    assert is_mixed(labels, 64)


def test_the_order_of_the_files():
    ids = ["a-00001__2", "a-00001__10", "a-00000__3", "b", "a-00000__11"]
    assert [ids[row] for row in stored_order(ids)] == [
        "a-00000__3",
        "a-00000__11",
        "a-00001__2",
        "a-00001__10",
        "b",
    ]
