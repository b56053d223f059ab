"""Choices that do not fit images of another number of channels than three."""

from __future__ import annotations

import pytest

from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import checked

BANDS = "model.in_channels=4"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["augment=rand"],
            "augment.rand_operations: got 2 with model.in_channels=4, expected 0: it changes red, green "
            "and blue\n  Set augment.rand_operations=0.",
        ),
        (["augment=three"], "Set augment.three_augment=false augment.color_jitter=0."),
        (["augment.color_jitter=0.4"], "augment.color_jitter: got 0.4 with model.in_channels=4"),
        (
            ["preprocessing.mean=[0.5,0.5,0.5]"],
            "preprocessing.mean: got 3 numbers, expected 4, one for each channel",
        ),
        (["preprocessing.std=[1,1,1,0]"], "expected finite numbers above 0"),
        (
            ["dataset=imagenet_folder", "dataset.data_dir=x"],
            "model.in_channels: got 4 with dataset.source=imagenet_folder",
        ),
    ],
)
def test_it_is_refused(words, expected):
    with pytest.raises(UserError) as caught:
        checked(BANDS, *words)
    assert expected in str(caught.value)


def test_other_augmentations_work():
    config = checked(
        BANDS, "augment.erasing=0.5", "augment.mixup=0.8", "augment.cutmix=1",
        "preprocessing.mean=[1000,-3,0,1]", "preprocessing.std=auto",
    )  # fmt: skip
    assert config.preprocessing.mean == [1000, -3, 0, 1]
    assert config.preprocessing.std == "auto"


def test_more_numbers_name_the_channels():
    with pytest.raises(UserError, match=r"Set model\.in_channels=4"):
        checked("preprocessing.mean=[0.5,0.5,0.5,0.5]")
