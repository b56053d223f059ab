"""Augmentation is a function of the picture and the seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.config import AugmentConfig
from cait_finetune.data.augmentation.augment import augment, box_of, distort, random_box
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.resize import crop_and_resize
from tests.cait_finetune.stand_ins import checked, picture

PREPROCESSING = Preprocessing(16, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
IMAGE = tf.constant(picture(40, 48))


def configured(scale=(0.6, 1.0), ratio=(0.75, 1.3333), flip=0.5) -> AugmentConfig:
    return AugmentConfig(crop_scale=list(scale), crop_ratio=list(ratio), flip=flip)


def augmented(seed: int, config: AugmentConfig, image=IMAGE, **options) -> np.ndarray:
    return augment(
        image, tf.constant([7, seed], tf.int64), config, PREPROCESSING, **options
    ).numpy()


def test_the_seed_decides():
    np.testing.assert_array_equal(augmented(1, configured()), augmented(1, configured()))
    pictures = {augmented(seed, configured()).tobytes() for seed in range(8)}
    assert len(pictures) == 8


def test_both_halves_of_the_seed_count():
    one, other = (
        augment(IMAGE, tf.constant([first, 1], tf.int64), configured(), PREPROCESSING)
        for first in (0, 1)
    )
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("seed", range(6))
def test_the_whole_picture_keeps_the_geometry_of_evaluation(seed):
    config = configured(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    np.testing.assert_array_equal(augmented(seed, config), PREPROCESSING(IMAGE))


@pytest.mark.parametrize("seed", range(6))
def test_always_mirrored(seed):
    config = configured(scale=(1.0, 1.0), flip=1.0)
    np.testing.assert_array_equal(augmented(seed, config), PREPROCESSING(IMAGE)[:, ::-1])


@pytest.mark.slow
def test_mirrored_half_of_the_time():
    config = configured(scale=(1.0, 1.0), flip=0.5)
    plain = PREPROCESSING(IMAGE).numpy()
    mirrored = [not np.array_equal(augmented(seed, config), plain) for seed in range(100)]
    assert 30 <= sum(mirrored) <= 70


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 1.0)])
def test_a_set_that_forbids_mirroring(scale):
    """``flip=False`` gives the picture of an augmentation with flip 0."""
    for seed in range(8):
        forbidden = augmented(seed, configured(scale, flip=1.0), flip=False)
        np.testing.assert_array_equal(forbidden, augmented(seed, configured(scale, flip=0.0)))


@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1), (3, 4), (40, 48)])
def test_shape_and_values_for_extreme_pictures(shape):
    for seed in range(4):
        got = augmented(seed, configured((0.05, 0.9), (0.2, 5.0)), tf.constant(picture(*shape)))
        assert got.shape == (16, 16, 3)
        assert np.isfinite(got).all()
        assert np.abs(got).max() <= 1.0 + 1e-6


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0 - 2**-24])
@pytest.mark.parametrize("shape", [(1, 500), (500, 1), (1, 1), (7, 7), (1000, 3), (4096, 4095)])
def test_the_box_is_inside(shape, draw):
    height, width = shape
    config = configured((0.01, 1.0), (0.1, 10.0))
    for index in range(4):
        draws = np.full(5, draw, "float32")
        draws[index] = 1.0 - draw
        draws = np.minimum(draws, np.float32(1.0 - 2**-24))
        box = box_of(tf.constant(draws), tf.constant(height), tf.constant(width), config, (8, 8))
        top, left, box_h, box_w = (float(value) for value in box)
        assert box_h >= 1
        assert box_w >= 1
        assert 0 <= top <= (height - box_h) * (1 + 1e-6)
        assert 0 <= left <= (width - box_w) * (1 + 1e-6)


@pytest.mark.parametrize("size", [(16, 16), (16, 32), (30, 20)])
def test_area_and_ratio_of_the_box(size):
    """The ratio is relative to the ratio of the input."""
    config = configured((0.25, 0.5), (0.5, 2.0))
    areas, ratios, corners = [], [], set()
    for seed in range(200):
        draws = tf.random.stateless_uniform((5,), (seed, 0))
        top, left, h, w = map(
            float, box_of(draws, tf.constant(400), tf.constant(400), config, size)
        )
        areas.append(h * w / 400**2)
        ratios.append(w / h * size[0] / size[1])
        corners.add((top, left))
    assert 0.24 < min(areas) < 0.27
    assert 0.48 < max(areas) < 0.51
    assert 0.49 < min(ratios) < 0.6
    assert 1.7 < max(ratios) < 2.02
    assert len(corners) == 200


def test_small_images_are_cut_between_their_pixels():
    """With boxes of whole pixels, an 8×8 image would have few different crops."""
    image = tf.constant(picture(8, 8))
    pictures = {
        augmented(seed, configured((0.75, 1.0), (1.0, 1.0), 0.0), image).tobytes()
        for seed in range(40)
    }
    assert len(pictures) == 40


def test_zooming_out_puts_the_image_on_black():
    """The box has four times the image's area. Half of each side is outside, and black."""
    white = tf.fill((40, 40, 3), tf.constant(255, tf.uint8))
    config = configured((4.0, 4.0), (1.0, 1.0), 0.0)
    corners = set()
    for seed in range(12):
        got = augmented(seed, config, white)  # -1 is black, 1 is white
        assert (np.abs(got) > 0.999).mean() > 0.9
        assert (got > 0).mean() == pytest.approx(0.25, abs=0.03)
        rows, columns, _ = np.nonzero(got > 0)
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 6


def test_crop_scales_up_to_one_add_no_black_border():
    white = tf.fill((40, 24, 3), tf.constant(255, tf.uint8))
    for seed in range(12):
        assert augmented(seed, configured((0.9, 1.0), (0.3, 3.0)), white).min() > 0.999


EXTRAS = {
    "rand_operations": {"rand_operations": 3, "rand_probability": 1.0},
    "three_augment": {"three_augment": True},
    "color_jitter": {"color_jitter": 0.5},
    "erasing": {"erasing": 1.0},
}


def with_extras(**extras) -> AugmentConfig:
    return dataclasses.replace(configured(), **extras)


def by_hand(seed: int, config: AugmentConfig) -> np.ndarray:
    """Crop and mirror `IMAGE` with the primitives alone; return the normalised picture."""
    draws = tf.random.stateless_uniform((5,), tf.constant([7, seed], tf.int64))
    box = box_of(draws, tf.constant(40), tf.constant(48), config, (16, 16))
    image = crop_and_resize(IMAGE, box, (16, 16), "bicubic").numpy()
    image = image[:, ::-1] if draws[4] < config.flip else image
    return (image - np.float32(127.5)) / np.float32(127.5)


@pytest.mark.parametrize("seed", range(8))
def test_crop_and_mirroring_are_what_they_were(seed):
    """The pictures stay identical bit for bit, because published results depend on the draws."""
    np.testing.assert_array_equal(augmented(seed, configured()), by_hand(seed, configured()))


@pytest.mark.parametrize("name", EXTRAS)
def test_each_kind_changes_pictures(name):
    config = with_extras(**EXTRAS[name])
    for seed in range(4):
        np.testing.assert_array_equal(augmented(seed, config), augmented(seed, config))
    assert any(
        np.abs(augmented(seed, config) - augmented(seed, configured())).mean() > 0.02
        for seed in range(4)
    )
    assert len({augmented(seed, config).tobytes() for seed in range(8)}) == 8


def test_one_kind_leaves_the_draws_of_the_others():
    """Outside the erased box, the picture equals the picture without erasing."""
    for seed in range(6):
        plain = augmented(seed, with_extras(color_jitter=0.4))
        erased = augmented(seed, with_extras(color_jitter=0.4, erasing=1.0))
        same = (plain == erased).all(axis=-1)
        assert 0.5 < same.mean() < 1.0


@pytest.mark.parametrize(
    ("key", "value"),
    [("rand_magnitude", 2.0), ("rand_magnitude_std", 5.0), ("rand_probability", 0.1)],
)
def test_the_keys_of_rand_augment(key, value):
    base = {"rand_operations": 3, "rand_probability": 1.0, "rand_magnitude": 6.0}
    usual, other = with_extras(**base), with_extras(**{**base, key: value})
    differing = [
        not np.array_equal(augmented(seed, usual), augmented(seed, other)) for seed in range(6)
    ]
    assert sum(differing) >= 3


@pytest.mark.slow
def test_three_augment_gives_grey_solarized_or_blurred():
    config = dataclasses.replace(
        configured((1.0, 1.0), (1.0, 1.0), 0.0), three_augment=True, color_jitter=0.0
    )
    plain = (augmented(0, configured((1.0, 1.0), (1.0, 1.0), 0.0)) + 1) * 127.5
    kinds = []
    for seed in range(60):
        got = (augmented(seed, config) + 1) * 127.5
        if np.ptp(got, axis=-1).max() < 1e-3:
            kinds.append("grey")
        elif np.allclose(got, np.where(plain < 127.5, plain, 255 - plain), atol=1e-2):
            kinds.append("solarized")
        else:
            assert got.mean() == pytest.approx(plain.mean(), abs=4)
            kinds.append("blurred")
    counts = [kinds.count(kind) for kind in ("grey", "solarized", "blurred")]
    assert min(counts) >= 10


@pytest.mark.slow
def test_jitter_keeps_within_its_strength():
    config = dataclasses.replace(configured((1.0, 1.0), (1.0, 1.0), 0.0), color_jitter=0.3)
    grey = tf.fill((40, 48, 3), tf.constant(100, tf.uint8))  # only brightness changes it
    means = [(augmented(seed, config, grey).mean() + 1) * 127.5 for seed in range(80)]
    assert 69 <= min(means) < 76
    assert 124 < max(means) <= 130


def test_distort_and_random_box_make_up_augment():
    config = with_extras(**EXTRAS["rand_operations"], erasing=0.5)
    for number in range(4):
        seed = tf.constant([7, number], tf.int64)
        box = random_box(tf.constant(40), tf.constant(48), seed, config, (16, 16))
        image = PREPROCESSING.crop_and_resize(IMAGE, box, (16, 16))
        np.testing.assert_array_equal(
            distort(image, seed, config, PREPROCESSING), augmented(number, config)
        )


@pytest.mark.parametrize("name", ["none", *(name for name in EXTRAS if name != "erasing")])
def test_unnormalised_levels_match_the_normalised_image(name):
    config = with_extras(**EXTRAS.get(name, {}))
    seed = tf.constant([7, 3], tf.int64)
    levels = augment(IMAGE, seed, config, PREPROCESSING, normalised=False)
    assert levels.dtype == tf.uint8
    got = PREPROCESSING.normalise_levels(levels[None])[0]
    wanted = augment(IMAGE, seed, config, PREPROCESSING)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("preset", ["rand", "deit", "three"])
def test_presets_set_the_published_augmentation_values(preset):
    config = checked(f"augment={preset}").augment
    assert config.crop_scale == [0.08, 1.0]
    expected = {
        "rand": {"rand_operations": 2, "erasing": 0.0, "mixup": 0.0, "repeats": 1},
        "deit": {"rand_operations": 2, "erasing": 0.25, "mixup": 0.8, "cutmix": 1.0, "repeats": 3},
        "three": {"rand_operations": 0, "three_augment": True, "color_jitter": 0.3},
    }[preset]
    assert {key: getattr(config, key) for key in expected} == expected
    assert config.rand_magnitude == 9.0
    assert config.rand_magnitude_std == config.rand_probability == 0.5
    pictures = {augmented(seed, config).tobytes() for seed in range(6)}
    assert len(pictures) == 6
