"""Numbers as labels: reading, text, groups, and refused keys."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from cait_finetune.config import ColumnsConfig, DatasetConfig, SplitsConfig
from cait_finetune.data.door import check_labels
from cait_finetune.data.fingerprint import fingerprint, images
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.pipeline import evaluation_batches, train_batches
from cait_finetune.data.targets import ANY_CLASSES, KINDS, NUMBERS, ONE_CLASS
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import folders, from_folder, from_table, ids, image, table
from tests.cait_finetune.data.test_image_cache import PLAIN, PREPROCESSING, Cached

COUNT = 60
TWO = ColumnsConfig(targets=["age", "height"])


def age(number: int) -> float:
    return number * 7 % COUNT + 0.5


@pytest.fixture
def listed(tmp_path):
    """Write a table of 60 images with the columns path, age, height and weight; return its path."""
    rows = []
    for number in range(COUNT):
        image(tmp_path / f"{number:02}.png")
        rows.append(f"{number:02}.png,{age(number)},{-number},{number % 3 + 1}")
    return table(tmp_path / "list.csv", rows, "path,age,height,weight")


def from_numbers(path, columns=TWO, **options):
    return from_table(path, NUMBERS, columns=columns, **options)


def message(function, *arguments, **options) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments, **options)
    return str(error.value)


def changed(path, row: int, cell: str):
    """Write `cell` as the age of a row of the table, counted from 0."""
    lines = path.read_text().splitlines()
    cells = lines[row + 1].split(",")
    lines[row + 1] = ",".join([cells[0], cell, *cells[2:]])
    path.write_text("\n".join(lines) + "\n")
    return path


def test_it_is_one_of_the_kinds():
    assert NUMBERS in KINDS
    assert (NUMBERS.task, NUMBERS.words, NUMBERS.dtype) == ("regression", "numbers", tf.float32)
    assert NUMBERS.shape(3) == (3,)
    assert NUMBERS.blank(3).shape == (3,)
    for method in (NUMBERS.class_numbers, lambda label: NUMBERS.class_counts(label, 1)):
        with pytest.raises(TypeError, match="no classes"):
            method(np.zeros(1))


def test_a_table_with_several_targets(listed):
    source = from_numbers(listed)
    assert source.class_names == ("age", "height")
    assert source.target is NUMBERS
    assert source.sizes == {"train": 48, "validation": 6, "test": 6}
    assert source.describe("x")[0].startswith("data   x: targets age, height, 48 train")
    for split in source.sizes:
        labels = source.labels(split)
        assert labels.dtype == np.float32
        numbers = [int(one[:2]) for one in ids(source, split)]
        np.testing.assert_array_equal(labels, [(age(n), -n) for n in numbers])


@pytest.mark.parametrize("columns", [{"label": "age"}, {"targets": ["age"]}])
def test_a_table_with_one_target(listed, columns):
    source = from_numbers(listed, ColumnsConfig(**columns))
    assert source.class_names == ("age",)
    assert source.labels("train").shape == (48, 1)


@pytest.mark.parametrize("cell", ["old", "", "nan", "inf", "-inf", "1e39", "1_0", "3;5"])
def test_a_cell_that_is_no_finite_number(listed, cell):
    said = message(from_numbers, changed(listed, 4, cell))
    got = repr(cell) if cell else "nothing"
    assert said.startswith(
        f"dataset.data_dir: got {listed}, column age: {got} in row 6, expected a finite number"
    )
    assert "Correct these cells" in said
    assert "and others in rows 6, 9" in message(from_numbers, changed(listed, 7, "x"))


def test_a_column_that_is_missing(listed):
    said = message(from_numbers, listed, ColumnsConfig(targets=["age", "hight"]))
    assert said.startswith("dataset.columns.targets: got 'hight', expected one of the columns of")
    assert "did you mean height" in said
    both = ColumnsConfig(targets=["age"], label="height")
    assert "beside dataset.columns.label=height" in message(from_numbers, listed, both)
    assert "age twice" in message(
        lambda: DatasetConfig(name="x", columns=ColumnsConfig(targets=["age", "age"]))
    )


@pytest.mark.parametrize("target", [ONE_CLASS, ANY_CLASSES])
def test_targets_with_another_task(listed, target):
    said = message(from_table, listed, target, columns=TWO)
    assert f"dataset.columns.targets: got [age,height] with task={target.task}" in said
    assert "Set task=regression" in said


@pytest.mark.parametrize(
    ("options", "key", "advice"),
    [
        ({"sampling": "balanced"}, "dataset.sampling", "Leave the key out"),
        ({"examples_per_class": 2}, "dataset.examples_per_class", "Set dataset.train_share="),
        ({"class_names": ["a"]}, "dataset.class_names", "Set dataset.columns.targets="),
        ({"columns": ColumnsConfig(classes=["age"])}, "dataset.columns.classes", "targets=[age]"),
    ],
)
def test_keys_that_need_classes(listed, options, key, advice):
    said = message(from_numbers, listed, **options)
    assert said.startswith(f"{key}: got ")
    assert "with task=regression, expected" in said
    assert advice in said


def test_a_folder_holds_no_numbers(tmp_path):
    said = message(from_folder, folders(tmp_path / "images"), NUMBERS)
    assert said.startswith(
        "task: got regression with dataset.source=folder, expected classification"
    )


def test_a_constant_target(listed):
    for row in range(COUNT):
        changed(listed, row, "3")
    said = message(from_numbers, listed)
    assert said.startswith(
        "dataset.columns.targets: got age, which is 3 in each of the 48 training images, expected"
    )
    assert from_numbers(listed, evaluation_only=True).sizes["test"] == COUNT


def test_an_image_in_several_rows(listed, warnings_shown):
    line = listed.read_text().splitlines()[1]
    listed.write_text(listed.read_text() + line + "\n")
    source = from_numbers(listed)
    assert sum(source.sizes.values()) == COUNT + 1
    assert "lists 1 image more than once: 00.png (rows 2, 62)" in warnings_shown()[0]
    said = message(from_numbers, changed(listed, COUNT, "9"))
    assert "00.png has age=0.5 height=0 (row 2), age=9 height=0 (row 62)" in said
    assert "Correct these rows" in said


def test_a_copy_with_other_numbers(listed, tmp_path, warnings_shown):
    (tmp_path / "01.png").write_bytes((tmp_path / "00.png").read_bytes())
    from_numbers(listed, splits=SplitsConfig(shares=[0.9, 0.05, 0.05]))
    assert any("00.png" in one and "01.png" in one for one in warnings_shown())


def test_the_fingerprint_has_the_numbers(listed):
    source = from_numbers(listed)
    found, listed_images = fingerprint(source)
    first = next(images(source, "train"))
    number = int(first.id[:2])
    assert first.label == f"age={age(number):.9g}\x1fheight={-number or 0}"
    again, _ = fingerprint(from_numbers(listed))
    assert found == again
    swapped, others = fingerprint(source.in_order(["height", "age"]))
    assert swapped.digest == found.digest
    assert others == listed_images
    relabelled = fingerprint(from_numbers(changed(listed, 3, "99.25")))[0]
    assert relabelled.digest != found.digest


def test_targets_in_another_order(listed):
    source = from_numbers(listed)
    swapped = source.in_order(["height", "age"])
    np.testing.assert_array_equal(swapped.labels("train"), source.labels("train")[:, ::-1])


@pytest.mark.slow
def test_weights_follow_the_numbers(listed):
    columns = ColumnsConfig(targets=["age", "height"], weight="weight")
    source = from_numbers(listed, columns)
    wanted = [int(one[:2]) % 3 + 1 for one in ids(source, "train")]
    np.testing.assert_array_equal(source.weights("train"), wanted)
    assert fingerprint(source)[0].digest != fingerprint(from_numbers(listed))[0].digest
    cached = Cached(source, listed.parent / "cache")
    for _, labels, _ in cached.batches(count=2):
        for row in np.asarray(labels):
            number = int(-row[1])
            np.testing.assert_array_equal(row, [age(number), -number, number % 3 + 1])
    np.testing.assert_array_equal(
        ONE_CLASS.weighted(tf.constant(1), tf.constant(2.0), 3), [0.0, 2.0, 0.0]
    )


@pytest.mark.slow
def test_caches_keep_the_numbers(listed):
    source = from_numbers(listed)
    cached = Cached(source, listed.parent / "cache")
    plain = Cached(source, listed.parent / "cache", cache="none")
    config = plain.config
    direct = train_batches(source, config, PLAIN, PREPROCESSING, 4, seed=0, corrupt=plain.corrupt)
    kept = {tuple(one["label"]) for one in cached.examples()}
    assert kept == {tuple(label) for label in source.labels("train")}
    assert next(iter(direct))[1].shape == (4, 2)
    one = evaluation_batches(source, "test", PREPROCESSING, 4, plain.corrupt)
    labels = np.concatenate([labels[real] for _, labels, real in one.as_numpy_iterator()])
    np.testing.assert_array_equal(labels, source.labels("test"))
    assert source.stamp("train") != from_numbers(changed(listed, 0, "1234.5")).stamp("train") or (
        "00.png" not in ids(source, "train")
    )


def test_the_split_file_keeps_the_division(listed, tmp_path):
    options = {"splits": SplitsConfig(file=str(tmp_path / "kept.csv"), seed=3)}
    source = from_numbers(listed, **options)
    assert (tmp_path / "kept.csv").is_file()
    image(tmp_path / "60.png")
    listed.write_text(listed.read_text() + "60.png,3.5,4,1\n")
    later = from_numbers(changed(listed, 0, "55"), **options)  # other quantiles
    for split in source.sizes:
        assert set(ids(source, split)) <= set(ids(later, split))


def test_folds_and_shares(listed):
    held_out = []
    for fold in range(4):
        source = from_numbers(listed, folds=4, fold=fold)
        held_out += ids(source, "validation")
        assert 20 < source.labels("validation")[:, 0].mean() < 40
    assert len(held_out) == len(set(held_out)) == 54
    assert from_numbers(listed, folds=20).sizes["validation"] == 3
    assert "expected at most 54" in message(from_numbers, listed, folds=55)
    few, more = (from_numbers(listed, train_share=share) for share in (0.25, 0.5))
    assert few.sizes["train"] == pytest.approx(12, abs=2)
    assert set(ids(few, "train")) < set(ids(more, "train"))
    assert few.sizes["test"] == 6


def test_groups_of_one_target_are_quantiles():
    values = np.random.default_rng(0).normal(size=(400, 1)).astype("float32")
    groups = NUMBERS.strata(values)
    assert np.bincount(groups).tolist() == [25] * 16
    ends = [(values[groups == group].min(), values[groups == group].max()) for group in range(16)]
    ends.sort()
    assert all(high < low for (_, high), (low, _) in itertools.pairwise(ends))


@pytest.mark.parametrize("size", [1, 9, 19, 20, 45, 1000])
@pytest.mark.parametrize("targets", [1, 2, 5])
def test_groups_are_large_enough(size, targets):
    groups = NUMBERS.strata(np.random.default_rng(size).uniform(size=(size, targets)))
    counts = np.bincount(groups)
    assert counts.sum() == size
    assert counts.min() >= min(10, size)
    assert len(counts) <= 16
    assert len(counts) > 1 or size < 20


def test_equal_numbers_are_in_one_group():
    values = np.repeat([0.0, 1.0, 2.0], [70, 20, 10])[:, None]
    groups = NUMBERS.strata(values)
    assert all(len(set(groups[values[:, 0] == value])) == 1 for value in (0, 1, 2))
    assert np.bincount(groups).tolist() in ([70, 20, 10], [20, 10, 70], [10, 20, 70])
    assert set(NUMBERS.strata(np.ones((50, 2)))) == {0}
    # A constant target leaves the cuts to the other.
    pair = np.stack([np.ones(50), np.arange(50)], axis=1)
    assert len(set(NUMBERS.strata(pair))) == 4


def test_each_target_is_balanced():
    rng = np.random.default_rng(1)
    values = np.stack([rng.normal(size=320), 1000 * rng.exponential(size=320)], axis=1)
    groups = NUMBERS.strata(values)
    for column in values.T:
        low = column < np.median(column)
        assert {len(set(groups[low])), len(set(groups[~low]))} <= set(range(8, 14))


def test_a_sorted_target_is_found():
    ascending = np.arange(100, dtype=np.float32)[:, None]
    (column,) = NUMBERS.columns(ascending)
    assert (np.diff(column) != 0).sum() == 7


def test_numbers_that_are_not_finite():
    labels = np.array([[1.0, 2.0], [np.nan, 2.0], [1.0, np.inf]], np.float32)
    assert NUMBERS.strangers(labels, 2).tolist() == [1, 2]
    names = np.array(["a", "b", "c"], object)
    source = FileSource(
        ("x", "y"), {"train": 3}, NUMBERS, files={"train": Files(names, names, labels)}
    )
    said = message(check_labels, source, ["train"])
    assert said.startswith(
        "dataset.splits.train: got 2 images with a number that is not finite: b: x=nan"
    )


@pytest.mark.parametrize(
    ("feature", "names"),
    [
        (tfds.features.Scalar(np.float32), ["key"]),
        (tfds.features.Scalar(np.int64), ["key"]),
        (tfds.features.Tensor(shape=(2,), dtype=np.float64), ["key_0", "key_1"]),
        (tfds.features.BBoxFeature(), ["key_0", "key_1", "key_2", "key_3"]),
        (tfds.features.FeaturesDict({"b": np.float32, "a": np.float32}), ["a", "b"]),
        (tfds.features.ClassLabel(num_classes=3), None),
        (tfds.features.Sequence(tfds.features.ClassLabel(num_classes=3)), None),
        (tfds.features.Sequence(np.float32), None),
        (tfds.features.Text(), None),
        (tfds.features.Image(), None),
        (tfds.features.Scalar(np.bool_), None),
        (tfds.features.FeaturesDict({"a": np.bool_}), None),
    ],
)
def test_features_of_numbers(feature, names):
    assert NUMBERS.is_label(feature) == (names is not None)
    if names:
        assert NUMBERS.feature_names("key", feature) == names
