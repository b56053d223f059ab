"""Numbers of a TFDS set as labels."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import ColumnsConfig, DatasetConfig
from cait_finetune.data.fingerprint import fingerprint
from cait_finetune.data.load import load_source
from cait_finetune.data.targets import NUMBERS, ONE_CLASS
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import encode, picture, prepare

SIZE = 60
FEATURES = {
    "image": tfds.features.Image(encoding_format="png"),
    "age": tfds.features.Scalar(np.float32),
    "count": tfds.features.Scalar(np.int64),
    "place": tfds.features.Tensor(shape=(2,), dtype=np.float64),
    "measured": {"width": np.float32, "height": np.float32},
    "constant": tfds.features.Scalar(np.float32),
    "broken": tfds.features.Scalar(np.float32),
    "colour": tfds.features.ClassLabel(names=["red", "green"]),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> str:
    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("numbers")

    def info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(FEATURES))

    def generate(self, split, size):
        for number in range(size):
            yield (
                number,
                {
                    "image": io.BytesIO(encode(picture(4, 4, seed=number))),
                    "age": number + 0.25,
                    "count": number,
                    "place": [number, -number],
                    "measured": {"width": 2 * number, "height": 3 * number},
                    "constant": 7.0,
                    "broken": np.nan if number == 5 else number,
                    "colour": number % 2,
                },
            )

    prepare(
        directory,
        "measured_patches",
        _info=info,
        _generate_examples=generate,
        _split_generators=lambda self, _: {"train": generate(self, "train", SIZE)},
    )
    return str(directory)


def loaded(directory: str, label: str | None, target=NUMBERS, **options):
    config = DatasetConfig(
        name="measured_patches",
        data_dir=directory,
        columns=ColumnsConfig(label=label),
        **options,
    )
    return load_source(config, target)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("age", ("age",)),
        ("count", ("count",)),
        ("place", ("place_0", "place_1")),
        ("measured", ("height", "width")),
    ],
)
def test_a_feature_of_numbers(directory, label, names):
    source = loaded(directory, label)
    assert source.class_names == names
    assert source.target is NUMBERS
    labels = source.labels("train")
    assert labels.shape == (48, len(names))
    assert labels.dtype == np.float32
    read = [one["label"] for one in source.examples("train").as_numpy_iterator()]
    np.testing.assert_array_equal(read, labels)
    pictures = {encode(picture(4, 4, seed=number)): number for number in range(SIZE)}
    wanted = {
        "age": lambda n: [n + 0.25],
        "count": lambda n: [n],
        "place": lambda n: [n, -n],
        "measured": lambda n: [3 * n, 2 * n],
    }[label]
    numbers = [pictures[one["image"]] for one in source.examples("train").as_numpy_iterator()]
    np.testing.assert_array_equal(labels, [wanted(number) for number in numbers])


def test_targets_in_another_order(directory):
    source = loaded(directory, "measured")
    swapped = source.in_order(["width", "height"])
    np.testing.assert_array_equal(swapped.labels("test"), source.labels("test")[:, ::-1])
    read = [one["label"] for one in swapped.examples("test").as_numpy_iterator()]
    np.testing.assert_array_equal(read, swapped.labels("test"))
    assert fingerprint(swapped)[0].digest == fingerprint(source)[0].digest


def test_an_integer_can_be_a_class_or_a_number(directory):
    """Both indices of the same feature are cached, in different files."""
    number = loaded(directory, "count")
    label = loaded(directory, "count", ONE_CLASS, num_classes=SIZE, evaluation_only=True)
    np.testing.assert_array_equal(number.labels("test")[:, 0], label.labels("test"))
    assert label.labels("test").dtype == np.int32
    assert loaded(directory, "count").labels("test").dtype == np.float32


@pytest.mark.slow
def test_numbers_that_are_constant_or_not_finite(directory):
    with pytest.raises(UserError, match=r"^dataset\.columns\.label: got constant, which is 7 in"):
        loaded(directory, "constant")
    with pytest.raises(UserError, match=r"1 image with a number that is not finite.*broken=nan"):
        loaded(directory, "broken")


def test_a_feature_that_holds_no_numbers(directory):
    for label in ("colour", None):
        with pytest.raises(UserError, match="one image and numbers in each example"):
            loaded(directory, label)


def test_folds_and_shares(directory):
    assert loaded(directory, "age", folds=3, fold=1).sizes["validation"] == 18
    assert loaded(directory, "age", train_share=0.5).sizes["train"] == pytest.approx(24, abs=2)
