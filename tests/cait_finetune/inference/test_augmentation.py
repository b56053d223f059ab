"""Test-time augmentation has exact views, and averages probabilities."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune.inference.augmentation import Averaged, build_views, five_crops
from cait_finetune.inference.backends import Checkpoint
from tests.cait_finetune.conftest import Mean
from tests.cait_finetune.stand_ins import encode, picture


def pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


def test_crops_of_whole_images_keep_their_shape():
    image = tf.constant(np.arange(16 * 64 * 3).reshape(16, 64, 3) % 256, tf.uint8)
    crops = five_crops(image, ratio=None)
    assert {tuple(crop.shape) for crop in crops} == {(14, 56, 3)}
    assert {tuple(crop.shape) for crop in five_crops(image)} == {(14, 14, 3)}
    np.testing.assert_array_equal(crops[4], image[1:15, 4:60])


def test_crops_have_the_ratio_of_the_input():
    image = tf.zeros((16, 64, 3), tf.uint8)
    assert {tuple(crop.shape) for crop in five_crops(image, 1 / 2)} == {(14, 28, 3)}
    assert {tuple(crop.shape) for crop in five_crops(image, 2.0)} == {(14, 7, 3)}


def test_flip_is_the_file_and_its_mirror_image():
    image = picture(20, 30)
    same, mirrored = build_views("flip", True)(data := encode(image))
    assert same == data
    np.testing.assert_array_equal(pixels(mirrored), image[:, ::-1])


def test_five_crop_is_the_corners_and_the_middle():
    image = picture(32, 48)
    views = [pixels(view) for view in build_views("five_crop", True)(encode(image))]
    boxes = [(0, 0), (0, 20), (4, 0), (4, 20), (2, 10)]  # 28 pixels, 7/8 of 32
    for view, (top, left) in zip(views, boxes, strict=True):
        np.testing.assert_array_equal(view, image[top : top + 28, left : left + 28])


def test_ten_crop_adds_their_mirror_images():
    data = encode(picture(32, 48))
    five, ten = (
        [pixels(view) for view in build_views(name, True)(data)]
        for name in ("five_crop", "ten_crop")
    )
    np.testing.assert_array_equal(ten[:5], five)
    np.testing.assert_array_equal(ten[5:], [view[:, ::-1] for view in five])


def test_an_image_of_one_pixel():
    assert [crop.shape for crop in five_crops(tf.zeros((1, 1, 3), tf.uint8))] == [(1, 1, 3)] * 5


@pytest.mark.parametrize("upright", [True, False])
def test_photographs_are_turned_as_the_model_was_trained(upright):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    data = encode(picture(16, 24), "JPEG", exif=exif)
    _, mirrored = build_views("flip", upright)(data)
    assert pixels(mirrored).shape == ((24, 16, 3) if upright else (16, 24, 3))


def test_probabilities_are_averaged():
    files = [encode(picture(20 + n, 30, seed=n)) for n in range(3)]
    backend, views = Mean(), build_views("five_crop", True)
    averaged = Averaged(backend, views)
    by_hand = [np.mean([Mean()([view])[0] for view in views(data)], axis=0) for data in files]
    np.testing.assert_allclose(averaged(files), by_hand, rtol=1e-6)
    assert backend.calls == [3] * 5  # one view per call, so the memory does not grow
    assert averaged.class_names == Mean.class_names


@pytest.mark.slow
def test_flip_gives_an_image_and_its_mirror_image_equal_probabilities(saved_run):
    image = picture(20, 30)
    there, back = encode(image), encode(image[:, ::-1])
    plain = Checkpoint(saved_run)
    averaged = Averaged(plain, build_views("flip", True))
    assert np.abs(plain([there]) - plain([back])).max() > 1e-3
    np.testing.assert_allclose(averaged([there]), averaged([back]), atol=1e-6)


def test_numbers_of_several_views_have_no_interval():
    """The interval was fitted to predictions of one view."""

    class Backend:
        class_names = ("angle",)
        several = False

        def __call__(self, files):
            return np.array([[[len(one), len(one) - 1.0, len(one) + 1.0]] for one in files])

    averaged = Averaged(Backend(), lambda data: [data, data + b"xx"])
    np.testing.assert_array_equal(averaged([b"1", b"123"]), [[[2.0]], [[4.0]]])
