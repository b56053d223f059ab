"""The endless sequence: how often each item occurs, in which order, and from which position."""

from __future__ import annotations

import collections
import os

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data.sequence import TURNS, equal_shares, ready, repeated, resampled, shuffled

LABELS = np.array([0] * 13 + [1] * 5 + [2] * 2 + [4] * 3)  # no example of class 3
COUNTS = np.bincount(LABELS, minlength=5)
SIZE = len(LABELS)


def items(size: int = SIZE) -> tf.data.Dataset:
    """Return a data set of ``(number, label)``."""
    return tf.data.Dataset.from_tensor_slices((np.arange(size), LABELS[:size]))


def copies(item: tuple) -> tf.Tensor:
    return equal_shares(COUNTS)(item[1])


def shares_of(labels: np.ndarray) -> np.ndarray:
    return tf.map_fn(
        equal_shares(COUNTS), tf.constant(labels), fn_output_signature=tf.float64
    ).numpy()


def taken(dataset: tf.data.Dataset, count: int) -> list:
    return list(dataset.take(count).as_numpy_iterator())


def sequence(start: int = 0, seed: int = 0, evened: bool = True, size: int = SIZE):
    wanted = copies if evened else None
    return shuffled(items(size), size, size, seed, start, wanted)


@pytest.fixture(scope="module")
def passes() -> np.ndarray:
    """Return the item numbers of 60 passes, ``(60, n)``."""
    got = taken(sequence(), 60 * SIZE)
    assert [position for position, _ in got] == list(range(60 * SIZE))
    return np.array([item[0] for _, item in got]).reshape(60, SIZE)


def test_equal_shares_are_equal_in_sum_and_nothing_for_a_class_without_images():
    share = shares_of(np.arange(5))
    np.testing.assert_allclose(share * COUNTS, [SIZE / 4] * 3 + [0, SIZE / 4])
    assert share[3] == 0


def test_each_pass_has_the_classes_equally_often(passes):
    """Each class has its share of a pass, up to less than one example."""
    by_class = np.array([np.bincount(LABELS[one], minlength=5) for one in passes])
    assert (by_class[:, 3] == 0).all()
    assert np.abs(by_class[:, [0, 1, 2, 4]] - SIZE / 4).max() < 1


def test_classes_all_over_the_files_come_about_equally_often_too():
    """Items in random class order: one pass is less even, the mean over passes is equal."""
    labels = np.random.default_rng(0).permutation(LABELS)
    dataset = tf.data.Dataset.from_tensor_slices(labels)
    got = taken(shuffled(dataset, SIZE, SIZE, 0, 0, equal_shares(COUNTS)), 40 * SIZE)
    passes = np.array([label for _, label in got]).reshape(40, SIZE)
    by_class = np.array([np.bincount(one, minlength=5) for one in passes])[:, [0, 1, 2, 4]]
    assert np.abs(by_class - SIZE / 4).max() < 3
    np.testing.assert_allclose(by_class.mean(axis=0), SIZE / 4, atol=0.5)


def test_the_mean_count_of_each_item_equals_its_share(passes):
    of_each = np.array([np.bincount(one, minlength=SIZE) for one in passes])  # (passes, n)
    wanted = shares_of(LABELS)
    assert (of_each >= np.floor(wanted)).all()
    assert (of_each <= np.ceil(wanted)).all()
    # Chance rounds each number of copies up or down. The limit is four standard deviations.
    assert np.abs(of_each.mean(axis=0) - wanted).max() < 4 * 0.5 / np.sqrt(60)


def test_passes_differ_in_order_and_in_rounded_counts(passes):
    assert len({tuple(one) for one in passes}) == 60
    assert len({tuple(sorted(one)) for one in passes}) > 5


def test_a_pass_is_shuffled(passes):
    """Copies of an item are laid out next to each other, but are shuffled apart."""
    neighbours = [(one[1:] == one[:-1]).mean() for one in passes]
    assert np.mean(neighbours) < 0.3  # unshuffled: a third, as few items have many copies


@pytest.mark.slow
def test_the_seed_and_the_pass_alone_decide():
    again, other = (taken(sequence(seed=seed), 2 * SIZE) for seed in (0, 1))
    first = taken(sequence(), 2 * SIZE)
    assert repr(first) == repr(again)
    assert repr(first) != repr(other)


def test_resampled_repeats_each_item_its_whole_number_of_times():
    """An item with a whole number of copies gets exactly this number in every pass."""
    number = tf.constant(7, tf.int64)
    for seed in (0, 5):
        got = resampled(
            tf.data.Dataset.range(4), lambda i: tf.constant([0.0, 1.0, 3.0, 0.0], tf.float64)[i],
            seed, number,
        )  # fmt: skip
        assert list(got.as_numpy_iterator()) == [1, 2, 2, 2]


@pytest.mark.slow
def test_shares_that_do_not_add_up_exactly_make_full_passes():
    """Shares such as 49 times 1/49 do not sum to 1 in floating point. No pass may lack an item."""
    labels = np.repeat(np.arange(7), [1, 3, 7, 11, 13, 29, 31])
    share = equal_shares(np.bincount(labels))
    dataset = tf.data.Dataset.from_tensor_slices(labels)

    def length(number: tf.Tensor) -> tf.Tensor:
        one = resampled(dataset, share, 0, number)
        return one.reduce(np.int64(0), lambda count, _: count + 1)

    lengths = set(tf.data.Dataset.range(20).map(length).as_numpy_iterator())
    assert lengths == {len(labels)}


def times_of(times: int, evened: bool, size: int):
    def made(start: int) -> tf.data.Dataset:
        return repeated(lambda at: sequence(at, 0, evened, size), times, start)

    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "size", "evened"),
    [(1, SIZE, True), (2, SIZE, True), (2, 5, False), (3, 6, False)],
)
def test_the_sequence_can_start_at_any_position(times, size, evened):
    made = times_of(times, evened, size)
    whole = taken(made(0), 4 * size * times)
    assert [position for position, _ in whole] == list(range(len(whole)))
    for start in (1, size * times - 1, size * times + 1, 3 * size * times - 2):
        rest = taken(made(start), len(whole) - start)
        assert repr(rest) == repr(whole[start:])


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("size", [5, 6])
def test_repeats_occur_within_one_block(times, size):
    whole = [item[0] for _, item in taken(times_of(times, False, size)(0), TURNS * size * times)]
    once = [item[0] for _, item in taken(sequence(0, 0, False, size), TURNS * size)]
    for block in range(size):
        group = once[TURNS * block : TURNS * (block + 1)]
        assert whole[TURNS * times * block :][: TURNS * times] == group * times
    assert set(collections.Counter(whole).values()) == {TURNS * times}


def test_mixed_pairs_change_with_the_repeat():
    whole = [item[0] for _, item in taken(times_of(2, False, 10)(0), 2 * TURNS)]
    pairs = [frozenset(whole[at : at + 2]) for at in range(0, len(whole), 2)]
    assert all(len(pair) == 2 for pair in pairs)
    assert len(set(pairs)) == len(pairs)


def test_items_of_any_structure_take_turns():
    def one_by_one(start: int) -> tf.data.Dataset:
        single = tf.data.Dataset.range(start, 1000)
        return single.map(lambda at: (at, {"id": tf.strings.as_string(at), "label": at % 2}))

    got = [(int(at), item["id"]) for at, item in taken(repeated(one_by_one, 2, 3), 5)]
    assert got == [(3, b"3"), (4, b"4"), (5, b"0"), (6, b"1"), (7, b"2")]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_where_items_are_left_out_others_take_their_positions(times):
    """Items are missing where a cache of decoded images leaves out the corrupt images."""

    def made(start: int) -> tf.data.Dataset:
        return repeated(lambda at: shuffled(items(5), 7, 7, 0, at), times, start)

    whole = taken(made(0), 30 * times)
    assert [position for position, _ in whole] == list(range(len(whole)))
    one_pass = collections.Counter(item[0] for _, item in taken(shuffled(items(5), 7, 7, 0), 7))
    assert sorted(one_pass.values()) == [1, 1, 1, 2, 2]
    for start in (1, 7 * times, 13 * times, 14 * times + 1, 22 * times):
        assert repr(taken(made(start), 30 * times - start)) == repr(whole[start:])


def test_more_threads_than_cores_make_images_each_on_its_own():
    threading = ready(tf.data.Dataset.range(4).batch(2)).options().threading
    assert threading.private_threadpool_size > os.cpu_count()
    assert threading.max_intra_op_parallelism == 1
