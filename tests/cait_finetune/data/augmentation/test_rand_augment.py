"""RandAugment is a function of the picture and the seed, and uses all of its operations."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data.augmentation.rand_augment import OPERATIONS, distorted, rand_augment
from tests.cait_finetune.stand_ins import picture

IMAGE = tf.constant((8 + 0.9 * picture(24, 24)).astype("uint8"))
NAMES = list(OPERATIONS)


@tf.function
def augmented_by(seed, magnitude, std, probability, operations):
    return rand_augment(IMAGE, seed, operations, magnitude, std, probability)


def augmented(seed, magnitude=9.0, std=0.5, probability=0.5, operations=2) -> np.ndarray:
    return augmented_by(
        tf.constant([3, seed], tf.int64),
        *map(tf.constant, (magnitude, std, probability)),
        operations,
    ).numpy()


def one(name: str, level: float, sign: float = 1.0) -> np.ndarray:
    index = tf.constant(NAMES.index(name))
    return distorted(IMAGE, index, tf.constant(level), tf.constant(sign)).numpy()


def test_the_operations_of_timm():
    assert len(OPERATIONS) == 15


@pytest.mark.slow
def test_the_seed_decides():
    np.testing.assert_array_equal(augmented(1, probability=1.0), augmented(1, probability=1.0))
    pictures = {augmented(seed, probability=1.0).tobytes() for seed in range(20)}
    assert len(pictures) >= 18


def test_nothing_is_done_with_probability_zero():
    for seed in range(10):
        np.testing.assert_array_equal(augmented(seed, probability=0.0), IMAGE)


def test_each_operation_is_made_with_the_probability():
    kept = [np.array_equal(augmented(seed), IMAGE) for seed in range(200)]
    assert 30 <= sum(kept) <= 75  # a quarter has no operation; some operations change nothing


@pytest.mark.slow
def test_more_operations_change_the_image_more():
    def change(operations: int) -> float:
        return np.mean(
            [
                np.abs(
                    augmented(seed, operations=operations, probability=1.0) - IMAGE.numpy() * 1.0
                )
                for seed in range(60)
            ]
        )

    assert change(3) > change(1)


def test_each_operation_is_reached():
    """At a fixed level, 15 operations with 2 signs give every picture that can occur."""
    possible = {one(name, 0.9, sign).tobytes(): name for name in NAMES for sign in (-1.0, 1.0)}
    drawn = [
        augmented(seed, std=0.0, probability=1.0, operations=1).tobytes() for seed in range(250)
    ]
    assert set(drawn) <= set(possible)
    assert {possible[picture] for picture in drawn} == set(NAMES)
    assert len(set(drawn)) == len(possible)  # both signs occur


@pytest.mark.parametrize("name", NAMES)
def test_operations_change_more_at_a_higher_magnitude(name):
    """An operation changes nothing at magnitude 0 and much at magnitude 10.

    Three operations ignore the magnitude. At magnitude 0, posterize removes 4 bits.
    """
    weak, strong = (np.abs(one(name, level) - IMAGE.numpy() * 1.0).mean() for level in (0.0, 1.0))
    if name in ("autocontrast", "equalize", "invert"):
        assert weak == strong > 3
    else:
        assert weak <= (8 if name == "posterize" else 0)
        assert strong > weak + 1.5


@pytest.mark.parametrize(
    "name",
    [
        "rotate", "saturation", "contrast", "brightness", "sharpness", "shear_x", "shear_y",
        "translate_x", "translate_y",
    ],
)  # fmt: skip
def test_both_directions(name):
    assert not np.array_equal(one(name, 0.7), one(name, 0.7, -1.0))


@pytest.mark.parametrize("shape", [(64, 16), (16, 64)])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_translation_is_a_share_of_its_own_side(shape, sign, axis):
    image = tf.constant((8 + 0.9 * picture(*shape)).astype("uint8"))
    name = ("translate_y", "translate_x")[axis]
    moved = distorted(image, tf.constant(NAMES.index(name)), tf.constant(1.0), tf.constant(sign))
    pixels = round(0.45 * shape[axis])
    there, here = slice(pixels, None), slice(None, -pixels)
    if sign < 0:
        there, here = here, there
    along = (slice(None),) * axis
    np.testing.assert_array_equal(moved[(*along, here)], image[(*along, there)])


@pytest.mark.parametrize("name", NAMES)
def test_each_operation_takes_long_and_high_images(name):
    for shape in ((64, 16), (16, 64)):
        image = tf.constant((8 + 0.9 * picture(*shape)).astype("uint8"))
        for sign in (-1.0, 1.0):
            index = tf.constant(NAMES.index(name))
            assert distorted(image, index, tf.constant(1.0), tf.constant(sign)).shape == (*shape, 3)


def test_the_magnitude_is_spread():
    def pictures(std: float) -> int:
        return len(
            {
                augmented(seed, 5.0, std, probability=1.0, operations=1).tobytes()
                for seed in range(80)
            }
        )

    assert pictures(3.0) > pictures(0.0)


def test_the_magnitude_is_clipped_to_its_range():
    """A level outside 0 to 1 gives the picture of the nearest end."""
    possible = {
        one(name, level, s).tobytes() for name in NAMES for level in (0.0, 1.0) for s in (-1.0, 1.0)
    }
    for seed in range(40):
        drawn = augmented(seed, 5.0, 1e6, probability=1.0, operations=1)
        assert drawn.tobytes() in possible
