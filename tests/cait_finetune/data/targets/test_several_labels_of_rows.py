"""Several labels of an image: in a TFDS set, and in the rows of a table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cait_finetune.config import ColumnsConfig, DatasetConfig, SplitsConfig
from cait_finetune.data.label_index import LabelIndex
from cait_finetune.data.load import load_source
from cait_finetune.data.source import SPLITS
from cait_finetune.data.targets import SEVERAL_LABELS
from cait_finetune.data.tfds_source import TfdsSource
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import folders, from_table, table


@pytest.fixture(scope="module")
def leaning(tmp_path_factory):
    """Return a function that opens ``leaning_digits``. A fifth of its images has no direction."""
    folder = str(tmp_path_factory.mktemp("leaning"))

    def opened(*labels, splits=SPLITS, **keys):
        config = DatasetConfig(
            name="leaning_digits",
            data_dir=folder,
            columns=ColumnsConfig(labels=list(labels)),
            splits=SplitsConfig(train="train", validation="validation", test="test"),
            **keys,
        )
        return load_source(config, SEVERAL_LABELS, splits)

    return opened


@pytest.mark.slow
def test_num_classes_of_the_set_does_not_count_the_classes_of_its_labels(leaning):
    names = leaning("direction", "digit").class_names
    assert names[:3] == ("direction=left", "direction=right", "digit=0")
    assert leaning("direction", "digit", num_classes=10).class_names == names


@pytest.mark.slow
def test_images_without_any_of_the_labels_are_left_out(leaning):
    whole, source = leaning("digit", "direction"), leaning("direction")
    assert not any("left out" in note for note in whole.notes)
    counts = []
    for split in SPLITS:
        known = whole.labels(split)[:, 10:].any(axis=1)
        counts.append(int((~known).sum()))
        assert source.sizes[split] == known.sum() < whole.sizes[split]
        np.testing.assert_array_equal(source.labels(split), whole.labels(split)[known, 10:])
        assert [e["id"].decode() for e in source.examples(split).as_numpy_iterator()] == list(
            whole.ids(split)[known]
        )
    assert counts[0] == 245
    note = "labels images without any label are left out: {} train, {} validation, {} test"
    assert note.format(*counts) in source.notes
    test = leaning("direction", splits=("test",))
    assert test.sizes == {**whole.sizes, "test": source.sizes["test"]}
    assert f"labels images without any label are left out: {counts[2]} test" in test.notes


def without_labels(change):
    """Return a function like `TfdsSource._whole_index` with labels that `change` makes."""
    read = TfdsSource._whole_index

    def index(self, part):
        return dataclasses.replace(read(self, part), labels=change(part, read(self, part).labels))

    return index


def test_a_split_without_any_label_is_refused(leaning, monkeypatch):
    monkeypatch.setattr(
        TfdsSource,
        "_whole_index",
        without_labels(lambda part, labels: labels * 0 - 1 if part == "test" else labels),
    )
    with pytest.raises(
        UserError, match=r"^dataset\.splits\.test: got 'test', whose 360 images have"
    ):
        leaning("direction")


@pytest.mark.parametrize("number", [2, 40])
def test_a_number_above_the_classes_of_its_label_is_refused(leaning, monkeypatch, number):
    monkeypatch.setattr(
        TfdsSource,
        "_whole_index",
        without_labels(lambda part, labels: np.where(labels[:, :1] == 3, [[3, number]], labels)),
    )
    with pytest.raises(UserError) as caught:
        leaning("digit", "direction")
    text = str(caught.value)
    assert f"with labels outside the class list: {number} (" in text
    assert "numbers below the classes of each label: digit of 10 classes, direction of 2 c" in text
    assert "num_classes" not in text


def test_rows_of_the_index_have_the_label_of_each_feature():
    target = SEVERAL_LABELS.named(["a=x", "a=y", "b=x", "b=y", "b=z"])
    index = LabelIndex(np.zeros(2, "S1"), np.zeros(2, np.int64), np.array([[1, -1], [-1, 2]]))
    assert target.array(index, 5).tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]


@pytest.fixture
def listed(tmp_path):
    """Return a function that opens a table of 30 images of two labels, with further rows."""
    root = folders(tmp_path / "images")

    def opened(*rows, bar="x"):
        names = [f"{name}/{n:02}.png" for n in range(10) for name in ("cat", "dog", "owl")]
        first = [f"{path},{path[:3]},{('z', bar)[n % 2]}" for n, path in enumerate(names)]
        path = table(root / "list.csv", [*first, *rows], "path,kind,bar")
        return from_table(path, SEVERAL_LABELS, columns=ColumnsConfig(labels=["kind", "bar"]))

    return opened


def test_classes_that_look_like_several_are_named(listed, warnings_shown):
    assert "bar=x|z" in listed(bar="x|z").class_names
    (said,) = [one for one in warnings_shown() if "multi_label" in one]
    assert said.startswith("classes whose names hold '|': bar=x|z; set task=multi_label if")
    listed()
    assert not any("multi_label" in one for one in warnings_shown())


def test_rows_of_an_image_with_other_cells_are_refused(listed):
    with pytest.raises(UserError) as caught:
        listed("cat/00.png,cat,")
    text = str(caught.value)
    assert "cat/00.png is kind=cat bar=z (row 2), kind=cat (row 32)" in text
    assert "the same cells in all rows of an image, also the empty ones" in text
    assert "Write all labels of an image in one row" in text


def test_a_row_without_labels_names_the_columns(listed):
    with pytest.raises(UserError, match="columns kind and bar: no label at all in row 32"):
        listed("cat/00.png,,")
