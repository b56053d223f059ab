"""Images in a table."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.config import ColumnsConfig, DatasetConfig, SplitsConfig
from cait_finetune.data.load import load_source
from cait_finetune.data.targets import ANY_CLASSES
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import folders, from_table, ids, image, table
from tests.cait_finetune.stand_ins import checked

FILES = [f"{name}/{number:02}.png" for number in range(10) for name in ("cat", "dog", "owl")]
ROWS = [f"{path},{path[:3]}" for path in FILES]


@pytest.fixture
def root(tmp_path):
    return folders(tmp_path / "images")


def splits(number):
    return "train" if number < 18 else "val" if number < 24 else "test"


def test_without_splits_it_is_divided_and_stays_so(root):
    path = table(root / "list.csv", ROWS)
    source = from_table(path)
    assert source.class_names == ("cat", "dog", "owl")
    assert source.sizes == {"train": 24, "validation": 3, "test": 3}
    assert source.class_counts("test").tolist() == [1, 1, 1]
    assert source.notes == (f"split  24 / 3 / 3, kept in {root}/list.splits.csv",)
    table(path, ROWS[::-1])
    again = from_table(path)
    assert sorted(ids(again, "test")) == sorted(ids(source, "test"))
    one = next(source.examples("train").as_numpy_iterator())
    assert one["image"] == (root / one["id"].decode()).read_bytes()


def test_tables_with_one_stem_have_their_own_split_files(root):
    ends = [".csv", ".tsv"]
    for ending, rows in zip(ends, (ROWS[:15], ROWS[15:]), strict=True):
        rows = [row.replace(",", "\t" if ending == ".tsv" else ",") for row in rows]
        header = "path,label" if ending == ".csv" else "path\tlabel"
        source = from_table(table(root / f"list{ending}", rows, header))
        assert all("renamed" not in note and "another path" not in note for note in source.notes)
    assert (root / "list.splits.csv").is_file()
    assert (root / "list.tsv.splits.csv").is_file()


def test_the_split_file_of_an_earlier_version_stays(root):
    rows = [row.replace(",", "\t") for row in ROWS]
    path = table(root / "list.tsv", rows, "path\tlabel")
    (root / "list.splits.csv").write_text(
        "path,split\n" + "".join(f"{row.split(',')[0]},test\n" for row in ROWS[:9])
    )
    source = from_table(path)
    assert f"kept in {root}/list.splits.csv, 21 new" in source.notes[0]
    assert not (root / "list.tsv.splits.csv").exists()


def test_splits_of_the_table(root):
    rows = [f"{path};{path[:3]};{splits(number)}" for number, path in enumerate(FILES)]
    source = from_table(table(root / "list.csv", rows, "file;class;subset"))
    assert source.sizes == {"train": 18, "validation": 6, "test": 6}
    assert ids(source, "test") == FILES[24:]
    assert source.labels("test").tolist() == [0, 1, 2, 0, 1, 2]
    assert not source.notes


def test_splits_in_other_words_and_capitals(root):
    words = {"train": "A", "val": "b", "test": "C"}
    rows = [f"{path},{path[:3]},{words[splits(n)]}" for n, path in enumerate(FILES)]
    path = table(root / "list.csv", [*rows[:-1], rows[-1].lower()], "path,label,part")
    config = SplitsConfig(train="A", validation="b", test="C")
    source = from_table(path, splits=config, columns=ColumnsConfig(split="part"))
    assert source.sizes == {"train": 18, "validation": 6, "test": 6}


def test_a_lone_part_is_tested_on(root):
    rows = [f"{r},{'train' if n < 20 else 'val'}" for n, r in enumerate(ROWS)]
    source = from_table(table(root / "list.csv", rows, "path,label,split"))
    assert source.sizes == {"train": 18, "validation": 2, "test": 10}
    assert source.notes[0].startswith("split  18 / 2 / 10, val is tested on, validation is 10%")


def test_a_split_column_without_anything_is_none(root):
    source = from_table(table(root / "list.csv", [f"{r}," for r in ROWS], "path,label,split"))
    assert source.sizes == {"train": 24, "validation": 3, "test": 3}


def test_paths_may_be_absolute_or_elsewhere(root, tmp_path):
    rows = [f"{root}/{r}" if n % 2 else f"../images/{r}" for n, r in enumerate(ROWS)]
    source = from_table(table(tmp_path / "lists" / "list.csv", rows))
    assert source.sizes["train"] == 24
    folders = f"{root}/cat, {root}/dog, {root}/owl"
    assert source.notes[0] == f"table  30 images are outside the folder of the table, in {folders}"
    beside = from_table(table(root / "list.csv", rows[1::2]))  # absolute, below the table's folder
    assert not any("outside" in note for note in beside.notes)


def test_numbers_are_sorted_as_such(root):
    rows = [f"{path},{number % 12}" for number, path in enumerate(FILES)]
    source = from_table(table(root / "list.csv", rows))
    assert source.class_names == tuple(str(number) for number in range(12))
    mixed = [*rows[:-1], f"{FILES[-1]},1b", f"{FILES[-1]},1b"]
    assert from_table(table(root / "mixed.csv", mixed)).class_names[:4] == ("0", "1", "10", "11")


def test_class_names_give_the_order(root):
    source = from_table(table(root / "list.csv", ROWS), class_names=["owl", "cat", "dog"])
    assert source.class_names == ("owl", "cat", "dog")
    of_owls = [name for name, label in zip(ids(source, "train"), source.labels("train"), strict=True) if label == 0]  # fmt: skip
    assert {name[:3] for name in of_owls} == {"owl"}


def test_weights_are_kept_as_they_are(root):
    rows = [f"{r},{number / 4}" for number, r in enumerate(ROWS)]
    path = table(root / "list.csv", rows, "path,label,how much")
    source = from_table(path, columns=ColumnsConfig(weight="how much"))
    assert source.weighted
    for one in source.records("train").as_numpy_iterator():
        assert one["weight"] == FILES.index(one["id"].decode()) / 4
    assert not from_table(path).weighted


def test_a_column_of_weights_that_is_not_used_is_named(root):
    path = table(root / "list.csv", [f"{row},1" for row in ROWS], "path,label,weight")
    note = "table  the column weight is not used: set dataset.columns.weight=weight to use it"
    assert note in from_table(path).notes
    assert note not in from_table(path, columns=ColumnsConfig(weight="weight")).notes


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,Label,label", "column label is read, and Label not: set dataset.columns.label"),
        ("path,label,class", "column label is read, and class not: set dataset.columns.label"),
        ("path,target,category", "column category is read, and target not"),
    ],
)
def test_other_columns_of_usual_names_are_named(root, warnings_shown, header, said):
    path = table(root / "list.csv", [f"{row},{'z' + row[-3]}" for row in ROWS], header)
    source = from_table(path)
    assert any(said in one for one in warnings_shown())
    read = header.split(",").index(said.split()[1])
    assert source.class_names == (("cat", "dog", "owl") if read == 1 else ("zc", "zd", "zo"))
    chosen = from_table(path, columns=ColumnsConfig(label=header.split(",")[1]))
    assert not [one for one in warnings_shown() if "is read" in one]
    assert chosen.class_names == ("cat", "dog", "owl")


def test_labels_that_look_like_several_are_named(root, warnings_shown):
    path = table(root / "list.csv", [f"{row}|big" for row in ROWS])
    assert from_table(path).class_names == ("cat|big", "dog|big", "owl|big")
    (said,) = [one for one in warnings_shown() if "multi_label" in one]
    assert said.startswith("classes whose names hold '|': cat|big, dog|big, owl|big")


@pytest.mark.parametrize(
    ("joined", "said"),
    [
        ("cat;dog", "classes whose names hold ';': cat;dog; set dataset.columns.separator"),
        ('"cat, dog"', "classes whose names hold ',': cat, dog; set dataset.columns.separator"),
        ("\"['cat', 'dog']\"", "classes whose names hold ',' and '['"),
    ],
)
def test_labels_with_another_separator_are_named(root, warnings_shown, joined, said):
    rows = [f"{path},{joined}" for path in FILES]
    source = from_table(table(root / "list.csv", rows), target=ANY_CLASSES)
    (warning,) = warnings_shown()
    assert warning.startswith(said)
    assert "labels  no image has two: '|' would separate them" in source.notes
    again = from_table(
        table(root / "other.csv", [*rows[1:], f"{FILES[0]},cat|owl"]), target=ANY_CLASSES
    )
    assert not any("no image has two" in note for note in again.notes)


def test_a_column_of_splits_under_another_name_is_named(root):
    rows = [f"{path},{path[:3]},{splits(number)},{number % 2}" for number, path in enumerate(FILES)]
    path = table(root / "list.csv", rows, "path,label,set,fold")
    note = "table  the column set holds splits and is not used: write train, val and test there "
    assert any(one.startswith(note) for one in from_table(path).notes)
    (root / "list.splits.csv").unlink()
    assert from_table(path, columns=ColumnsConfig(split="set")).sizes["train"] == 18


@pytest.mark.parametrize("other", ["extra", "holdout"])
def test_a_column_of_splits_with_unusual_names_is_named(root, other):
    rows = [
        f"{path},{path[:3]},{'train' if number % 3 else other}" for number, path in enumerate(FILES)
    ]
    notes = from_table(table(root / "list.csv", rows, "path,label,set")).notes
    assert any("the column set holds splits and is not used" in note for note in notes)


@pytest.mark.parametrize("column", ["is_valid", "Fold"])
def test_a_column_of_splits_of_other_libraries_is_named(root, column):
    rows = [f"{path},{path[:3]},{number % 2}" for number, path in enumerate(FILES)]
    notes = from_table(table(root / "list.csv", rows, f"path,label,{column}")).notes
    assert any(f"the column {column} holds splits and is not used" in note for note in notes)


def test_a_class_may_have_the_name_of_a_split(root):
    rows = [f"{path},{('train', 'bus')[number % 2]}" for number, path in enumerate(FILES)]
    notes = from_table(table(root / "list.csv", rows, "path,label")).notes
    assert not any("holds splits" in note for note in notes)


def test_several_labels_in_a_cell(root):
    labels = ["cat|dog", "dog", "", "owl | cat"]
    rows = [f"{path},{labels[number % 4]}" for number, path in enumerate(FILES)]
    source = from_table(table(root / "list.csv", rows), target=ANY_CLASSES)
    assert source.target is ANY_CLASSES
    assert source.class_names == ("cat", "dog", "owl")
    rows_of = {0: [1, 1, 0], 1: [0, 1, 0], 2: [0, 0, 0], 3: [1, 0, 1]}
    for one in source.records("train").as_numpy_iterator():
        assert one["label"].dtype == np.float32
        assert one["label"].tolist() == rows_of[FILES.index(one["id"].decode()) % 4]
    assert sum(source.sizes.values()) == 30
    other = [f"{path},{labels[number % 4].replace('|', '+')}" for number, path in enumerate(FILES)]
    path = table(root / "other.csv", other)
    assert from_table(
        path, target=ANY_CLASSES, columns=ColumnsConfig(separator="+")
    ).class_names == (
        "cat",
        "dog",
        "owl",
    )


def test_several_labels_in_columns(root):
    rows = [f"{path},{n % 2},{(n + 1) % 2}.0" for n, path in enumerate(FILES)]
    path = table(root / "list.csv", rows, "path,odd,even")
    columns = ColumnsConfig(classes=["even", "odd"])
    source = from_table(path, target=ANY_CLASSES, columns=columns)
    assert source.class_names == ("even", "odd")
    for one in source.records("train").as_numpy_iterator():
        odd = FILES.index(one["id"].decode()) % 2
        assert one["label"].tolist() == [1 - odd, odd]
    named = from_table(path, target=ANY_CLASSES, columns=columns, class_names=["odd", "even"])
    assert named.class_names == ("odd", "even")


def test_the_same_image_twice_is_warned_of_and_in_one_split(root, warnings_shown):
    source = from_table(table(root / "list.csv", [*ROWS, *ROWS[:4], f"./{ROWS[4]}"]))
    shown = "cat/00.png (rows 2, 32), dog/00.png (rows 3, 33), owl/00.png (rows 4, 34), …"
    warning = f"{root}/list.csv lists 5 images more than once: {shown}"
    assert warnings_shown() == [warning]
    assert sum(source.sizes.values()) == 35
    parts = [set(files.paths) for files in source.files.values()]
    assert len(set.union(*parts)) == sum(len(part) for part in parts)


def test_a_path_by_other_names_is_the_same_image(root, warnings_shown):
    (root / "link").symlink_to(root / "cat")
    (root / "other.png").symlink_to("dog/00.png")
    more = ["link/00.png,cat", "other.png,dog", "owl/../cat/01.png,cat", f"{root}/owl/00.png,owl"]
    source = from_table(table(root / "list.csv", [*ROWS, *more]))
    (warning,) = warnings_shown()
    assert "lists 4 images more than once: cat/00.png (rows 2, 32)" in warning
    for split in source.sizes:
        assert {path.split("/")[0] for path in ids(source, split)} <= {"cat", "dog", "owl"}
    sets = [set(ids(source, split)) for split in source.sizes]
    assert len(set.union(*sets)) == sum(map(len, sets)) == 30


def test_rows_of_one_image_are_one_example_of_several_labels(root, warnings_shown):
    rows = [f"{path},{path[:3]},{splits(n)}" for n, path in enumerate(FILES)]
    rows += [f"./{FILES[0]},dog,train", f"{FILES[0]},cat|owl,train", f"{FILES[29]},cat,test"]
    source = from_table(table(root / "list.csv", rows, SPLIT), target=ANY_CLASSES)
    assert source.sizes == {"train": 18, "validation": 6, "test": 6}
    label = dict(zip(ids(source, "train"), source.labels("train").tolist(), strict=True))
    assert label[FILES[0]] == [1, 1, 1]
    assert label[FILES[1]] == [0, 1, 0]
    assert source.labels("test")[-1].tolist() == [1, 0, 1]
    assert source.notes == ("files  5 rows of 2 images are one example each",)
    assert warnings_shown() == []


def test_places_that_cannot_be_read(root):
    rows = [*ROWS, "https://example.org/cat.jpg,cat", "s3://bucket/dog.jpg,dog"]
    with pytest.raises(UserError) as error:
        from_table(table(root / "list.csv", rows))
    assert str(error.value) == (
        f"dataset.data_dir: got {root}/list.csv, column path: https://example.org/cat.jpg in rows 32, 33, "
        "expected a path that TensorFlow can read; https:// needs a plugin\n"
        "  Copy the images to a disk or to gs://, or mount the bucket as a folder"
    )


def labelled(root, change=lambda n, row: row, header="path,label"):
    return table(root / "list.csv", [change(n, row) for n, row in enumerate(ROWS)], header)


def _column(values, header="path,label,split"):
    """Return a function that writes the table with one more column, ``values(row number)``."""
    return lambda root: labelled(root, lambda n, row: f"{row},{values(n)}", header)


C = ColumnsConfig
SPLIT = "path,label,split"
WRONG = {
    "not there": (lambda r: None, {}, "data_dir: got {p}, expected an existing file"),
    "no label column": (lambda r: labelled(r, header="path,lable"), {}, "columns.label: got nothing, expected one of the columns of {p}: path, lable\n  usual are label, class, category, labels, target; did you mean lable?"),
    "no path column": (lambda r: labelled(r, header="where,label"), {}, "columns.image: got nothing, expected one of the columns of {p}: where, label\n  usual are path, image, file, filename, image_path, filepath; set dataset.columns.image=… to name yours"),
    "another label column": (labelled, {"columns": C(label="labels")}, "columns.label: got 'labels', expected one of the columns of {p}: path, label\n  did you mean label?"),
    "no split column": (labelled, {"columns": C(split="part")}, "columns.split: got 'part', expected one of the columns of {p}"),
    "no weight column": (labelled, {"columns": C(weight="w")}, "columns.weight: got 'w', expected one of the columns of {p}"),
    "a missing file": (lambda r: labelled(r, lambda n, row: f"x{row}" if n == 3 else row), {}, "data_dir: got {p}: 1 file (xcat/01.png) not found, row 5, expected existing files\n  Paths are relative to {r}"),
    "missing files": (lambda r: labelled(r, lambda n, row: f"x{row}" if n < 7 else row), {}, "data_dir: got {p}: 7 files (xcat/00.png, …) not found, rows 2, 3, 4, 5, 6 and 2 more, expected"),
    "backslashes": (lambda r: labelled(r, lambda n, row: row.replace("/", "\\")), {}, "data_dir: got {p}: 30 files (cat\\00.png, …) not found, rows 2, 3, 4, 5, 6 and 25 more, expected existing files\n  Paths are relative to {r}, with / between folders"),
    "no path": (lambda r: labelled(r, lambda n, row: ",cat" if n == 2 else row), {}, "data_dir: got {p}, column path: no path in row 4, expected a path"),
    "no label": (lambda r: labelled(r, lambda n, row: f"{FILES[n]}," if n in (1, 2) else row), {}, "data_dir: got {p}, column label: no label in rows 3, 4, expected one in each row"),
    "one class": (lambda r: labelled(r, lambda n, row: f"{FILES[n]},cat"), {}, "data_dir: got column label of {p} with the one class cat, expected two classes or more"),
    "outside the list": (labelled, {"class_names": ["cat", "dogs"]}, "data_dir: got labels outside the class list: 'dog' (rows 3, 6, 9, 12, 15 and 5 more), 'owl' (rows 4, 7, 10, 13, 16 and 5 more), expected those of dataset.class_names: cat, dogs\n  did you mean dogs?"),
    "several outside the list": (labelled, {"class_names": ["cat", "dog"], "target": ANY_CLASSES}, "data_dir: got labels outside the class list: 'owl' (rows 4,"),
    "listed and not there": (labelled, {"class_names": ["cat", "dog", "owl", "fox"]}, "data_dir: got no image of class 'fox', expected at least one of each class"),
    "another number": (labelled, {"num_classes": 4}, "num_classes: got 4, expected 3, as column label of {p} has cat, dog, owl"),
    "an unknown split": (_column(lambda n: "train" if n < 28 else "tset"), {}, "data_dir: got {p} with the split 'tset' (rows 30, 31), expected train, validation or test\n  Assign it to a split, such as dataset.splits.train=tset"),
    "rows without a split": (_column(lambda n: "" if n in (4, 9) else "train"), {}, "data_dir: got {p}, column split: nothing in rows 6, 11, expected a split in each row, or in none"),
    "a split that is not there": (_column(lambda n: "train"), {"splits": SplitsConfig(test="last")}, "splits.test: got 'last', expected one of train, in column split of {p}"),
    "splits without a column": (labelled, {"splits": SplitsConfig(train="a")}, "splits.train: got 'a', expected null, as there are no splits, in {p} without a split column"),
    "no train": (_column(lambda n: "test" if n % 2 else "val"), {}, "splits.train: got nothing, expected the part to train on: column split of {p} has test, val and no train"),
    "only in test": (_column(lambda n: "test" if n % 3 == 2 else "train"), {}, "data_dir: got class 'owl' in test but not in train, expected images of each class to train on"),
    "in two splits": (lambda r: table(r / "list.csv", [*(f"{row},train" for row in ROWS), f"{ROWS[0]},test"], SPLIT), {}, "data_dir: got {p}: cat/00.png in test and train (rows 2, 32), expected each image in one split"),
    "two labels": (lambda r: table(r / "list.csv", [*ROWS, f"./{ROWS[0][:-3]}owl", f"{ROWS[4][:-3]}cat"]), {}, "data_dir: got {p} with two labels of an image: cat/00.png is cat (row 2), owl (row 32); dog/01.png is dog (row 6), cat (row 33), expected one label for each image\n  Correct these rows, or set task=multi_label"),
    "several labels in two splits": (lambda r: table(r / "list.csv", [*(f"{row},train" for row in ROWS), f"{ROWS[0]},test"], SPLIT), {"target": ANY_CLASSES}, "data_dir: got {p}: cat/00.png in test and train (rows 2, 32), expected each image in one split"),
    "other zeros and ones": (lambda r: table(r / "list.csv", [*(f"{path},1" for path in FILES), f"{FILES[0]},0"], "path,cat"), {"columns": C(classes=["cat"]), "target": ANY_CLASSES}, "data_dir: got {p}: cat/00.png with different zeros and ones (rows 2, 32), expected one row for each image"),
    "a weight below 0": (_column(lambda n: -1 if n == 3 else 1, "path,label,w"), {"columns": C(weight="w")}, "data_dir: got {p}, column w: '-1' in row 5, expected numbers of 0 or more"),
    "weights that are none": (_column(lambda n: ["inf", "x", "", 1][n % 4], "path,label,w"), {"columns": C(weight="w")}, "data_dir: got {p}, column w: 'inf' and others in rows 2, 3, 4, 6, 7 and 18 more, expected numbers"),
    "weights of nothing": (_column(lambda n: 0, "path,label,w"), {"columns": C(weight="w")}, "columns.weight: got w, which is 0 in each row, expected a number above 0 in some"),
    "weights of several labels": (_column(lambda n: 1, "path,label,w"), {"columns": C(weight="w"), "target": ANY_CLASSES}, "columns.weight: got w with task=multi_label, expected null there"),
    "classes of one label": (labelled, {"columns": C(classes=["cat"])}, "columns.classes: got a list with task=classification, expected null"),
    "classes beside a label": (labelled, {"columns": C(classes=["cat"], label="label"), "target": ANY_CLASSES}, "columns.classes: got a list beside dataset.columns.label=label, expected one of the two"),
    "classes not there": (labelled, {"columns": C(classes=["cat"]), "target": ANY_CLASSES}, "columns.classes: got 'cat', expected one of the columns of {p}: path, label"),
    "neither 0 nor 1": (_column(lambda n: [0, 1, 2][n % 3], "path,label,cat"), {"columns": C(classes=["cat"]), "target": ANY_CLASSES}, "data_dir: got {p}, column cat: '2' in rows 4, 7, 10, 13, 16 and 5 more, expected 0 or 1"),
    "other class names": (_column(lambda n: 1, "path,label,cat"), {"columns": C(classes=["cat"]), "class_names": ["dog"], "target": ANY_CLASSES}, "class_names: got dog, expected those of dataset.columns.classes: cat"),
    "no label at all": (lambda r: labelled(r, lambda n, row: f"{FILES[n]},"), {"target": ANY_CLASSES}, "data_dir: got {p}, column label: no label at all, expected labels"),
    "a separator of columns": (lambda r: labelled(r, lambda n, row: row.replace(",", "|"), "path|label"), {"target": ANY_CLASSES}, "columns.separator: got '|', which also divides the columns of {p}, expected another separator"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_raises_an_error_that_names_the_key(case, root):
    make, options, message = WRONG[case]
    make(root)
    path = root / "list.csv"
    with pytest.raises(UserError) as error:
        from_table(path, **options)
    assert str(error.value).startswith("dataset." + message.format(p=path, r=root))


def test_a_class_of_several_that_train_lacks_is_warned_of(root, warnings_shown):
    rows = [f"{path},{'dog' if n else 'cat'},{splits(29 - n)}" for n, path in enumerate(FILES)]
    source = from_table(table(root / "list.csv", rows, SPLIT), target=ANY_CLASSES)
    assert source.class_counts("train").tolist() == [0, 18]
    assert warnings_shown() == ["train has no image of cat", "validation has no image of cat"]


def test_a_missing_data_dir_raises_an_error():
    with pytest.raises(
        UserError, match=r"^dataset\.data_dir: got nothing, expected the CSV file\n"
    ):
        load_source(DatasetConfig(source="csv", name="csv"))


def test_the_command_line_accepts_dataset_csv(root):
    image(root / "cat" / "a photo, of mine.png")
    rows = [*ROWS, '"cat/a photo, of mine.png",cat']
    config = checked("dataset=csv", f"dataset.data_dir={table(root / 'list.csv', rows)}")
    assert sum(load_source(config.dataset).sizes.values()) == 31
