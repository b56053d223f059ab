"""Several labels: their groups, their order, and the division of the images."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.config import ColumnsConfig, SplitsConfig
from cait_finetune.data.door import check_splits
from cait_finetune.data.load import load_source
from cait_finetune.data.source import SPLITS
from cait_finetune.data.targets import ONE_CLASS, SEVERAL_LABELS
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import from_table, image, table
from tests.cait_finetune.stand_ins import checked

COUNT = 60
SHAPES = ("round", "square", "flat")


def shape(number: int) -> str:
    """Return the class of an image: ``flat``, the first by name, is rare."""
    return "flat" if number % 12 == 0 else SHAPES[number % 2]


@pytest.fixture
def listed(tmp_path):
    """Return a table of 60 images with the columns path, split, shape, colour and weight."""
    rows = []
    for number in range(COUNT):
        image(tmp_path / f"{number:02}.png")
        colour = "" if number % 7 == 0 else ("red", "blue")[number % 3 > 0]
        split = ("train", "train", "val", "test")[number // 15]
        flat = "flat" if split == "test" and number % 2 else SHAPES[number % 2]
        rows.append(f"{number:02}.png,{shape(number)},{colour},{split},{flat}")
    return table(tmp_path / "list.csv", rows, "path,shape,colour,part,late")


@pytest.mark.parametrize("share", [None, 0.4])
def test_one_label_divides_the_images_as_classification(listed, share):
    several, one = (
        from_table(
            listed,
            target,
            columns=columns,
            train_share=share,
            splits=SplitsConfig(file=str(listed.with_name(f"{target.task}.csv"))),
        )
        for target, columns in (
            (SEVERAL_LABELS, ColumnsConfig(labels=["shape"])),
            (ONE_CLASS, ColumnsConfig(label="shape")),
        )
    )
    assert several.class_counts("train").min() < 10
    for split in SPLITS:
        assert list(several.ids(split)) == list(one.ids(split))


@pytest.mark.parametrize(("labels", "refused"), [(["late"], True), (["late", "shape"], False)])
def test_one_label_needs_each_class_in_train(listed, labels, refused):
    options = {"columns": ColumnsConfig(labels=labels, split="part")}

    def check():
        source = from_table(listed, SEVERAL_LABELS, **options)
        check_splits(source, checked("dataset=csv", f"dataset.data_dir={listed}").dataset)

    if not refused:
        check()
        return
    with pytest.raises(UserError, match="class 'late=flat' in test but not in train"):
        check()


def words(source, split: str = "train") -> list[list[str]]:
    return [
        sorted(source.target.label_texts(one, source.class_names)) for one in source.labels(split)
    ]


def assert_reordered(source):
    """Check that other orders of labels and classes change numbers, and nothing else."""
    first = source.target.groups[0].columns
    names = [*source.class_names[first.stop :], *source.class_names[first][::-1]]
    other = source.in_order(names)
    assert [one.name for one in other.target.groups] == [
        one.name for one in source.target.groups[::-1]
    ]
    assert words(other) == words(source)
    back = other.in_order(source.class_names)
    for one, same in ((source, back), (other, other.in_order(names))):
        np.testing.assert_array_equal(one.labels("train"), same.labels("train"))
    ours, theirs = (one.target.columns(one.labels("train")) for one in (source, other))
    np.testing.assert_array_equal(theirs[0], ours[1])
    size = len(source.target.groups[0].classes)
    np.testing.assert_array_equal(theirs[1], np.where(ours[0] < 0, -1, size - 1 - ours[0]))
    strata = [len(np.unique(one.target.strata(one.labels("train")))) for one in (source, other)]
    assert min(strata) > 2
    return other


def test_a_table_in_another_order(listed):
    assert_reordered(
        from_table(listed, SEVERAL_LABELS, columns=ColumnsConfig(labels=["shape", "colour"]))
    )


@pytest.mark.slow
def test_a_set_of_tfds_in_another_order(tmp_path):
    config = checked("dataset=leaning_digits", f"dataset.data_dir={tmp_path}").dataset
    other = assert_reordered(load_source(config, SEVERAL_LABELS))
    rows, _ = other.strangers("train")
    assert len(rows) == 0
    read = np.stack([one["label"] for one in other.records("test").as_numpy_iterator()])
    np.testing.assert_array_equal(read, other.labels("test"))
