"""The training stream is endless and shuffled. The evaluation stream has every image once."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from cait_finetune.config import AugmentConfig, DatasetConfig
from cait_finetune.data.corrupt import CorruptImages, Guarded
from cait_finetune.data.image_cache import ImageCache
from cait_finetune.data.pipeline import Shard, encoded_images, evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import encode, examples, picture, source_of, write_set

COUNT = 10
PREPROCESSING = Preprocessing(16, 1.0, "bicubic", (0.0,) * 3, (1.0,) * 3)
PLAIN = AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], flip=0.0)
LIGHT = AugmentConfig(crop_scale=[0.3, 0.9], crop_ratio=[0.75, 1.3333], flip=0.5)
MIXED = dataclasses.replace(LIGHT, mixup=0.8, cutmix=1.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return source_of(write_set(tmp_path_factory.mktemp("data"), {"train": examples(COUNT)}))


def with_corrupt(tmp_path, *bad: int):
    files = examples(COUNT)
    for index in bad:
        files[index] = (b"broken", index % 2)
    return source_of(write_set(tmp_path, {"train": files}))


def cached(source, config, corrupt):
    """Return the cached images, or `None` if the configuration has no cache."""
    return ImageCache(source, config, PREPROCESSING, corrupt, Console())("train")


def stream(source, batches, batch_size=4, seed=0, augmentation=PLAIN, corrupt=None, **dataset):
    """Return the images and labels of the training stream's first `batches` batches."""
    config = DatasetConfig(name="stand_in", **dataset)
    corrupt = CorruptImages("stop") if corrupt is None else corrupt
    taken = train_batches(
        source,
        config,
        augmentation,
        PREPROCESSING,
        batch_size,
        seed,
        corrupt,
        decoded=cached(source, config, corrupt),
    ).take(batches)
    images, labels, _ = zip(*taken.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def which(images: np.ndarray) -> list[int]:
    """Return the index of each undistorted image in the data set."""
    known = [picture(16, 16, seed) / 255 for seed in range(COUNT)]
    found = [[np.allclose(image, one, atol=1e-3) for one in known] for image in images]
    assert all(sum(row) == 1 for row in found)
    return [row.index(True) for row in found]


@pytest.mark.slow
def test_full_batches_of_one_static_shape(source):
    dataset = train_batches(
        *(source, DatasetConfig(name="stand_in"), LIGHT, PREPROCESSING, 4, 0),
        CorruptImages("stop"),
    )
    assert dataset.element_spec == (
        tf.TensorSpec((4, 16, 16, 3), tf.float32),
        tf.TensorSpec((4,), tf.int32),
        tf.TensorSpec((), tf.int64),
    )
    for images, labels, _ in dataset.take(6):  # more than two passes over ten images
        assert images.shape == (4, 16, 16, 3)
        assert labels.shape == (4,)


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["none", "memory"])
def test_each_pass_has_every_image_once_in_an_order_of_its_own(source, cache):
    images, labels = stream(source, 3 * COUNT, batch_size=1, cache=cache)
    order = which(images)
    assert [index % 2 for index in order] == list(labels)
    passes = [tuple(order[start : start + COUNT]) for start in range(0, 3 * COUNT, COUNT)]
    assert [sorted(one) for one in passes] == [list(range(COUNT))] * 3
    assert len({*passes, tuple(range(COUNT))}) == 4


@pytest.mark.slow
def test_another_seed_gives_another_order(source):
    orders = {tuple(which(stream(source, 2, seed=seed)[0])) for seed in (0, 1)}
    assert len(orders) == 2


@pytest.mark.slow
def test_another_seed_and_another_pass_give_other_crops(source):
    """The order is fixed, so only the random crops differ."""
    options = {"augmentation": LIGHT, "batch_size": 1, "shuffle_buffer": 1}
    images, labels = stream(source, 2 * COUNT, seed=0, **options)
    other, _ = stream(source, 2 * COUNT, seed=1, **options)
    assert list(labels) == [index % 2 for index in range(COUNT)] * 2
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(images, other, strict=True))
    passes = zip(images[:COUNT], images[COUNT:], strict=True)
    assert all(np.abs(a - b).max() > 0.01 for a, b in passes)


@pytest.mark.slow
def test_a_set_that_forbids_mirroring(source):
    mirror = dataclasses.replace(PLAIN, flip=1.0)
    plain, _ = stream(source, 2, augmentation=PLAIN)
    kept, _ = stream(source, 2, augmentation=mirror, allow_flip=False)
    np.testing.assert_array_equal(kept, plain)
    mirrored, _ = stream(source, 2, augmentation=mirror)
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["none", "memory"])
def test_training_skips_corrupt_images(tmp_path, cache):
    corrupt = CorruptImages("skip")
    source = with_corrupt(tmp_path, 1, 4)
    images, _ = stream(source, 4, corrupt=corrupt, cache=cache)
    assert set(which(images)) == set(range(COUNT)) - {1, 4}
    assert len(corrupt) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("on_corrupt", "cache"), [("skip", "none"), ("skip", "memory"), ("stop", "memory")]
)
def test_a_set_of_nothing_but_corrupt_images_ends(on_corrupt, cache, tmp_path):
    corrupt = CorruptImages(on_corrupt)
    source = with_corrupt(tmp_path, *range(COUNT))
    config = DatasetConfig(name="digits", cache=cache)
    decoded = cached(source, config, corrupt)

    def build(careful: bool, done: int):
        return train_batches(
            source, config, PLAIN, PREPROCESSING, 1, 0, corrupt, decoded=decoded, careful=careful
        )

    with pytest.raises(UserError, match="corrupt image"):
        next(iter(Guarded(corrupt, build, careful=decoded is not None)))


def elements(
    source, count, corrupt=None, augmentation=LIGHT, batch_size=4, cache="none", **options
):
    """Return the first `count` elements of the training stream as arrays."""
    config, corrupt = DatasetConfig(name="stand_in", cache=cache), corrupt or CorruptImages("skip")
    made = train_batches(
        source,
        config,
        augmentation,
        PREPROCESSING,
        batch_size,
        5,
        corrupt,
        decoded=cached(source, config, corrupt),
        **options,
    )
    return list(made.take(count).as_numpy_iterator())


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cache", "bad", "augmentation"),
    [("none", (), LIGHT), ("none", (1, 4), MIXED), ("memory", (1, 4), LIGHT)],
    ids=["sound", "mixed", "memory"],
)
def test_the_stream_can_start_at_any_position(tmp_path, cache, bad, augmentation):
    """Corrupt images leave gaps in the positions without a cache, and shorten passes with a cache."""
    source = with_corrupt(tmp_path, *bad)
    whole = elements(source, 9, cache=cache, augmentation=augmentation)
    for done in (2, 5, 6):  # of ten images: inside a pass, at its end, inside a later pass
        start = int(whole[done - 1][2])
        rest = elements(source, 9 - done, cache=cache, start=start, augmentation=augmentation)
        assert_same(rest, whole[done:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cache", "augmentation", "divisions"),
    [("none", MIXED, [(1, 2), (2, 2), (4, 1)]), ("memory", LIGHT, [(2, 1)])],
    ids=["mixed", "memory"],
)
def test_slices_make_up_the_batches_of_one(source, cache, augmentation, divisions):
    """Slices are cut before the images are decoded, and mixed in pairs afterwards."""
    options = {"cache": cache, "augmentation": augmentation, "batch_size": 8}
    whole = elements(source, 5, **options)
    for count, replicas in divisions:
        slices = [
            elements(source, 5 * replicas, shard=Shard(index, count, replicas), **options)
            for index in range(count)
        ]
        for number, (images, labels, position) in enumerate(whole):
            parts = [
                one for made in slices for one in made[number * replicas : (number + 1) * replicas]
            ]
            np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), images)
            np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), labels)
            assert max(part[2] for part in parts) == position
            if count > 1:  # all pipelines resume at the end of the global batch
                assert {int(part[2]) for part in parts} == {int(position)}


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_stack_is_several_steps_of_one_replica(source, replicas):
    shard = Shard(0, 1, replicas)
    single = elements(source, 6 * replicas, shard=shard)
    stacks = elements(source, 2 * replicas, shard=shard, stack=3)
    for number, stack in enumerate(stacks):
        group, replica = divmod(number, replicas)
        wanted = single[group * 3 * replicas :][replica : 3 * replicas : replicas]
        for part, column in zip(stack, zip(*wanted, strict=True), strict=True):
            np.testing.assert_array_equal(part, np.stack(column))


@pytest.mark.slow
def test_overfitting_gives_one_batch_again_and_again(source):
    first, *others = elements(source, 4, overfit=True)
    for other in others:
        assert_same([first], [other])
    assert_same([first], elements(source, 1, overfit=True, start=int(first[2])))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "replicas", "bad"), [(2, 1, ()), (1, 2, (0, 3, 6, 9)), (3, 2, (0, 3, 6, 9))]
)
def test_evaluation_in_slices_counts_every_image_once(tmp_path, count, replicas, bad):
    source = with_corrupt(tmp_path, *bad)
    lengths, seen = set(), []
    for index in range(count):
        shard = Shard(index, count, replicas)
        corrupt = CorruptImages("skip")
        made = evaluation_batches(source, "test", PREPROCESSING, 3, corrupt, shard=shard)
        batches = list(made.as_numpy_iterator())
        lengths.add(len(batches))
        images, _, real = (np.concatenate(part) for part in zip(*batches, strict=True))
        seen += which(images[real])
    assert sorted(seen) == sorted(set(range(COUNT)) - set(bad))
    assert len(lengths) == 1  # else a device would wait forever for another's batch
    assert lengths.pop() % replicas == 0


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [4, 5, 16])
def test_evaluation_counts_every_image_once(source, batch_size):
    dataset = evaluation_batches(source, "test", PREPROCESSING, batch_size, CorruptImages("stop"))
    assert dataset.element_spec[0] == tf.TensorSpec((batch_size, 16, 16, 3), tf.float32)
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == -(-COUNT // batch_size)
    images, labels, real = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert len(images) == len(labels) == len(real) == len(batches) * batch_size
    assert real.tolist() == [True] * COUNT + [False] * (len(real) - COUNT)
    assert which(images[real]) == list(range(COUNT))
    assert labels[real].tolist() == [index % 2 for index in range(COUNT)]
    assert not images[~real].any()


@pytest.mark.slow
def test_evaluation_is_the_same_each_time(source):
    dataset = evaluation_batches(source, "test", PREPROCESSING, 4, CorruptImages("stop"))
    one, other = (list(dataset.as_numpy_iterator()) for _ in range(2))
    for a, b in zip(itertools.chain(*one), itertools.chain(*other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_evaluation_leaves_corrupt_images_out(tmp_path):
    corrupt = CorruptImages("skip")
    source = with_corrupt(tmp_path, 0, 9)
    batches = list(evaluation_batches(source, "test", PREPROCESSING, 4, corrupt))
    assert sum(int(tf.reduce_sum(tf.cast(real, tf.int32))) for *_, real in batches) == 8
    assert len(corrupt) == 2


def test_encoded_images_are_the_files(source):
    got = encoded_images(source, "validation", 3, CorruptImages("stop"))
    assert [data for _, data in got] == [encode(picture(16, 16, seed)) for seed in range(3)]
    assert len({name for name, _ in got}) == 3


def test_encoded_images_skip_corrupt_images_and_end(source):
    corrupt = CorruptImages("skip")
    corrupt.ids.append(encoded_images(source, "validation", 1, corrupt)[0][0])
    assert len(encoded_images(source, "validation", 99, corrupt)) == COUNT - 1
