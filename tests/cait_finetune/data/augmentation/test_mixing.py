"""Mixup and CutMix against their definitions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.config import AugmentConfig
from cait_finetune.data.augmentation.mixing import draw_mask, mix_pairs, mixes

NONE = AugmentConfig(crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], flip=0.0)
MIXUP = dataclasses.replace(NONE, mixup=0.8)
CUTMIX = dataclasses.replace(NONE, cutmix=1.0)
BOTH = dataclasses.replace(NONE, mixup=0.8, cutmix=1.0)
SIZE = 16
WIDE = (8, 24)


def masks(config, count=400, seed=0, size=(SIZE, SIZE)):
    drawn = [draw_mask(size, tf.constant(i, tf.int64), config, seed) for i in range(count)]
    return np.array([float(share) for share, _ in drawn]), np.array(
        [own[..., 0] for _, own in drawn]
    )


def test_mixup_or_cutmix_with_a_probability_above_zero_mixes():
    assert [mixes(one) for one in (NONE, MIXUP, CUTMIX, BOTH)] == [False, True, True, True]
    assert not mixes(dataclasses.replace(BOTH, mix_probability=0.0))


@pytest.mark.slow
def test_mixup_gives_every_pixel_the_share():
    shares, own = masks(MIXUP)
    assert np.array_equal(own, np.broadcast_to(shares[:, None, None].astype("float32"), own.shape))
    assert 0 <= shares.min() < 0.05
    assert 0.95 < shares.max() <= 1
    # Beta(a, a): mean 1/2, variance 1 / (4 (2a + 1)).
    assert shares.mean() == pytest.approx(0.5, abs=0.05)
    assert shares.var() == pytest.approx(1 / (4 * 2.6), abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(SIZE, SIZE), WIDE])
def test_cutmix_swaps_a_box_and_counts_what_is_left(size):
    shares, own = masks(CUTMIX, size=size)
    assert own.shape[1:] == size
    assert set(np.unique(own)) == {0.0, 1.0}
    np.testing.assert_allclose(shares, own.mean((1, 2)), atol=1e-6)
    for one in own:
        rows, columns = np.where((one == 0).any(1))[0], np.where((one == 0).any(0))[0]
        assert (one == 0).sum() == len(rows) * len(columns)  # the pixels form one box
        if len(rows):
            assert np.ptp(rows) == len(rows) - 1
            assert np.ptp(columns) == len(columns) - 1
    assert len({round(float(share), 3) for share in shares}) > 50


@pytest.mark.slow
def test_the_box_of_cutmix_has_the_ratio_of_the_image():
    _, own = masks(CUTMIX, size=WIDE)
    inside = [
        (np.ptp(rows) + 1, np.ptp(columns) + 1)
        for one in own
        for rows, columns in [np.where(one == 0)]
        if len(rows)
        and rows.min() > 0
        and rows.max() < 7
        and columns.min() > 0
        and columns.max() < 23
    ]  # boxes that no edge clips
    assert len(inside) > 10
    assert all(3 * tall <= wide < 3 * (tall + 1) for tall, wide in inside)


@pytest.mark.slow
def test_mix_switch_probability_chooses_between_mixup_and_cutmix():
    _, own = masks(BOTH)
    is_box = np.array([set(np.unique(one)) <= {0.0, 1.0} for one in own])
    assert 0.4 < is_box.mean() < 0.6
    always = dataclasses.replace(BOTH, mix_switch_probability=1.0)
    assert set(np.unique(masks(always, 50)[1])) <= {0.0, 1.0}


@pytest.mark.slow
def test_some_pairs_are_left_alone():
    shares, _ = masks(dataclasses.replace(MIXUP, mix_probability=0.3))
    assert 0.62 < (shares == 1).mean() < 0.78


def test_draws_depend_on_seed_and_position_alone():
    one, again, other = masks(BOTH, 20)[1], masks(BOTH, 20)[1], masks(BOTH, 20, seed=1)[1]
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("config", [MIXUP, CUTMIX], ids=["mixup", "cutmix"])
def test_a_pair_is_mixed_with_each_other(config):
    rng = np.random.default_rng(0)
    images = rng.random((6, SIZE, SIZE, 3), "float32")
    labels = np.array([0, 1, 2, 0, 1, 1], "int32")
    positions = np.arange(6, dtype="int64") + 10
    examples = tf.data.Dataset.from_tensor_slices((images, labels, positions))
    mixed = list(mix_pairs(examples, config, 3, seed=4).as_numpy_iterator())
    assert [int(position) for *_, position in mixed] == positions.tolist()
    for first in (0, 2, 4):
        share, own = draw_mask((SIZE, SIZE), tf.constant(10 + first, tf.int64), config, 4)
        share, own = float(share), own.numpy()
        for here, there in ((first, first + 1), (first + 1, first)):
            wanted = images[here] * own + images[there] * (1 - own)
            np.testing.assert_allclose(mixed[here][0], wanted, atol=1e-6)
            targets = np.eye(3)[labels[here]] * share + np.eye(3)[labels[there]] * (1 - share)
            np.testing.assert_allclose(mixed[here][1], targets, atol=1e-6)
