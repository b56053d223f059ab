"""Images in folders by class."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from cait_finetune.cli.output_place import claim
from cait_finetune.config import DatasetConfig, SplitsConfig
from cait_finetune.data.load import load_source
from cait_finetune.data.targets import ANY_CLASSES
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from tests.cait_finetune.data.made_images import folders, from_folder, ids, image
from tests.cait_finetune.stand_ins import checked


def test_without_splits_it_is_divided_and_stays_so(tmp_path):
    folders(tmp_path)
    source = from_folder(tmp_path)
    assert source.class_names == ("cat", "dog", "owl")
    assert source.sizes == {"train": 24, "validation": 3, "test": 3}
    for split, each in (("train", 8), ("validation", 1), ("test", 1)):
        assert source.class_counts(split).tolist() == [each] * 3
        assert ids(source, split) == sorted(ids(source, split))
    kept = tmp_path / "cait_splits.csv"
    assert source.notes == (f"split  24 / 3 / 3, kept in {kept}",)
    again = from_folder(tmp_path)
    for split in source.sizes:
        assert ids(again, split) == ids(source, split)
    kept.unlink()
    other = from_folder(tmp_path, splits=SplitsConfig(seed=5))
    assert ids(other, "test") != ids(source, "test")


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("seg_test", "seg_train"), "dataset.splits.train=seg_train dataset.splits.test=seg_test"),
        (
            ("Testing_set", "Training_set"),
            "dataset.splits.train=Training_set",
        ),
        (
            ("TestSet", "TrainSet", "ValSet"),
            "dataset.splits.validation=ValSet dataset.splits.train=TrainSet",
        ),
        (
            ("seg_pred", "seg_test", "seg_train"),
            "dataset.splits.test=seg_test",
        ),
    ],
)
def test_splits_under_unusual_names_are_no_classes(tmp_path, names, keys):
    for name in names:
        folders(tmp_path / name, {} if name == "seg_pred" else {"cat": 4, "dog": 4})
    if "seg_pred" in names:
        image(tmp_path / "seg_pred" / "1.png")
    with pytest.raises(UserError, match="which have folders in them, expected") as caught:
        from_folder(tmp_path)
    advised = str(caught.value).partition("\n  Set ")[2].partition(", or list")[0]
    assert set(keys.split()) <= set(advised.split())
    chosen = dict(word.removeprefix("dataset.splits.").split("=") for word in advised.split())
    assert len(chosen) == len(names) - ("seg_pred" in names)
    assert from_folder(tmp_path, splits=SplitsConfig(**chosen)).class_names == ("cat", "dog")


def test_classes_with_the_same_folders_are_named(tmp_path, warnings_shown):
    for name in ("ant", "bee"):
        folders(tmp_path / name, {"2023": 5, "2024": 5})
    assert from_folder(tmp_path).class_names == ("ant", "bee")
    assert any("each has the folders 2023, 2024" in one for one in warnings_shown())


def test_a_folder_name_that_contains_train_is_a_class(tmp_path):
    folders(tmp_path, {"express_train": 10, "freight_train": 10, "test_tube": 10})
    assert len(from_folder(tmp_path).class_names) == 3


def output(folder, *files):
    """Make the output directory of a command, with charts, which are images."""
    for file in ("curves.png", *files):
        image(folder / file)


@pytest.mark.parametrize("named_by_time", [False, True])
def test_outputs_of_commands_are_no_class(tmp_path, named_by_time):
    folders(tmp_path)
    runs = tmp_path / "outputs" / "digits" / "cait_nano_32"
    if named_by_time:
        claim("hydra.run.dir", runs / "2026-01-01_10-00-00")
    else:
        with RunDirectory(runs / "one").owned("hydra.run.dir"):
            RunDirectory(runs / "one").create()
    output(next(runs.iterdir()), "report/confusion.png")
    inside = tmp_path / "cat" / "run1"
    (inside / "checkpoints").mkdir(parents=True)
    (inside / "config.yaml").touch()
    output(inside, "report/confusion.png")
    source = from_folder(tmp_path)
    assert source.class_names == ("cat", "dog", "owl")
    assert sum(source.sizes.values()) == 30
    outputs = sorted([str(tmp_path / "outputs"), str(inside)])
    (note,) = (one for one in source.notes if "output directories" in one)
    assert sorted(note.partition("left out: ")[2].split(", ")) == outputs


def test_a_class_called_outputs(tmp_path):
    folders(tmp_path, {"inputs": 10, "outputs": 10})
    output(tmp_path / "outputs" / "checkpoints")
    assert from_folder(tmp_path).class_names == ("inputs", "outputs")


def test_pngs_of_16_bits_are_named(tmp_path):
    folders(tmp_path)
    assert not any("16 bits" in note for note in from_folder(tmp_path).notes)
    deep = Image.fromarray(np.full((4, 5), 3900, "uint16"))
    deep.save(tmp_path / "cat" / "00.png")
    note = "files  PNGs of 16 bits are read by their upper eight bits"
    assert note in from_folder(tmp_path).notes


def test_examples_hold_the_bytes_of_the_files(tmp_path):
    folders(tmp_path)
    for one in from_folder(tmp_path).examples("train").as_numpy_iterator():
        path = one["id"].decode()
        assert one["image"] == (tmp_path / path).read_bytes()
        assert ["cat", "dog", "owl"][one["label"]] == path.split("/")[0]


def test_three_split_folders_are_used_unchanged(tmp_path):
    for name, count in (("train", 4), ("val", 2), ("test", 3)):
        folders(tmp_path / name, {"cat": count, "dog": count})
    image(tmp_path / "train" / "dog" / "deep" / "er" / "1.JPG")
    image(tmp_path / "extra" / "fox" / "1.png")
    source = from_folder(tmp_path)
    assert source.sizes == {"train": 9, "validation": 4, "test": 6}
    assert ids(source, "train")[-1] == "train/dog/deep/er/1.JPG"
    assert source.notes == (
        "files  folders inside a class folder are of that class: dog (deep)",
        "files  folders that are no split are not read: extra",
    )
    assert not (tmp_path / "cait_splits.csv").exists()


def test_folders_inside_a_class_folder_are_named_if_images_are_in_several(tmp_path):
    folders(tmp_path, {"cow": 5, "hive/ant": 5, "hive/bee": 5, "fox/images": 5})
    source = from_folder(tmp_path)
    assert source.class_names == ("cow", "fox", "hive")
    assert source.notes[0] == (
        "files  folders inside a class folder are of that class: hive (ant, bee)"
    )


@pytest.mark.parametrize(("other", "tested"), [("test", "test"), ("val", "val")])
def test_with_one_split_beside_train_validation_is_drawn_from_train(other, tested, tmp_path):
    folders(tmp_path / "train", {"cat": 10, "dog": 10})
    folders(tmp_path / other, {"cat": 2, "dog": 2})
    source = from_folder(tmp_path)
    assert source.sizes == {"train": 18, "validation": 2, "test": 4}
    assert all(name.startswith("train/") for name in ids(source, "validation"))
    assert all(name.startswith(f"{tested}/") for name in ids(source, "test"))
    assert "validation is 10% of train, kept in" in source.notes[0]
    assert ids(from_folder(tmp_path), "validation") == ids(source, "validation")


def test_train_alone_is_divided(tmp_path):
    folders(tmp_path / "train")
    assert from_folder(tmp_path).sizes == {"train": 24, "validation": 3, "test": 3}


def test_splits_of_other_names(tmp_path):
    for name in ("one", "two", "three"):
        folders(tmp_path / name, {"cat": 2, "dog": 2})
    splits = SplitsConfig(train="one", validation="two", test="three")
    source = from_folder(tmp_path, splits=splits)
    assert {name.split("/")[0] for name in ids(source, "test")} == {"three"}


def test_a_class_may_be_called_train(tmp_path):
    folders(tmp_path, {"plane": 10, "ship": 10, "train": 10})
    assert from_folder(tmp_path).class_names == ("plane", "ship", "train")


def test_the_notes_count_files_that_are_not_images(tmp_path):
    folders(tmp_path)
    for name in ("1.txt", "2.txt", "3.tif", "none", ".DS_Store", "._1.png", "Thumbs.db"):
        (tmp_path / "cat" / name).write_text("")
    (tmp_path / "__MACOSX").mkdir()
    image(tmp_path / "astray.png")
    source = from_folder(tmp_path)
    assert source.sizes["train"] == 24
    assert source.notes[:2] == (
        "files  4 that are not images were left out: .txt, .tif, no ending",
        "files  1 in no class folder were left out",
    )


def test_an_image_beside_the_splits_is_noted(tmp_path):
    _of_splits(tmp_path, train=TWO, test=TWO)
    image(tmp_path / "astray.png")
    assert "files  1 in no class folder were left out" in from_folder(tmp_path).notes


def test_integers_are_in_the_order_of_numbers(tmp_path):
    folders(tmp_path, {"10": 5, "9": 5, "-1": 5})
    assert from_folder(tmp_path).class_names == ("-1", "9", "10")


def test_names_that_are_nearly_the_same_are_warned_of(tmp_path, warnings_shown):
    folders(tmp_path, {"Cat": 10, "cat": 10, "dog": 10})
    from_folder(tmp_path)
    assert warnings_shown() == [
        "classes whose names differ only in case, spaces, dashes, zeros or Unicode form: 'Cat' and 'cat'; give them one "
        "name if they are one class"
    ]


def test_litter_folders_are_never_opened(tmp_path, monkeypatch):
    folders(tmp_path, {"#1 fan": 5, "#2 fan": 5, "recycle": 5})
    litter = (".ipynb_checkpoints", "__MACOSX", "lost+found", "#recycle", "$RECYCLE.BIN", "@eaDir")
    for name in litter:
        image(tmp_path / name / "1.png")
    image(tmp_path / "#1 fan" / "._00.png")
    real = os.scandir

    def scandir(folder):
        assert not set(str(folder).split("/")) & set(litter), folder
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    source = from_folder(tmp_path)
    assert source.class_names == ("#1 fan", "#2 fan", "recycle")
    assert sum(source.sizes.values()) == 15
    assert source.notes[0] == "files  hidden folders left out: .ipynb_checkpoints"


def test_linked_folders_are_classes_and_loops_are_not(tmp_path):
    folders(tmp_path / "images", {"cat": 10})
    folders(tmp_path / "elsewhere", {"dog": 10})
    (tmp_path / "images" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (tmp_path / "images" / "all").symlink_to(tmp_path / "images")
    (tmp_path / "elsewhere" / "dog" / "up").symlink_to(tmp_path / "images")
    source = from_folder(tmp_path / "images")
    assert source.class_names == ("cat", "dog")
    assert sum(source.sizes.values()) == 20


def test_class_names_give_the_order(tmp_path):
    folders(tmp_path, {"cat": 10, "dog": 10})
    source = from_folder(tmp_path, class_names=["dog", "cat"], num_classes=2)
    assert source.class_names == ("dog", "cat")
    assert {name[:3] for name, label in zip(ids(source, "train"), source.labels("train"), strict=True) if label} == {"cat"}  # fmt: skip


def test_evaluation_only_scores_every_image(tmp_path):
    folders(tmp_path, {"cat": 2, "dog": 1})
    source = from_folder(tmp_path, evaluation_only=True, class_names=["cat", "dog"])
    assert source.sizes == {"train": 3, "validation": 3, "test": 3}
    assert not (tmp_path / "cait_splits.csv").exists()


def test_to_evaluate_an_image_under_two_labels_is_named(tmp_path, warnings_shown):
    folders(tmp_path, {"cat": 2, "dog": 1})
    (tmp_path / "dog" / "again.png").write_bytes(next((tmp_path / "cat").iterdir()).read_bytes())
    from_folder(tmp_path, evaluation_only=True)
    (warning,) = warnings_shown()
    assert warning.startswith("1 image is listed twice with two labels: ")


def test_a_class_that_validation_lacks_is_warned_of(tmp_path, warnings_shown):
    folders(tmp_path / "train", {"cat": 2, "dog": 2})
    folders(tmp_path / "val", {"cat": 2, "dog": 2})
    folders(tmp_path / "test", {"cat": 2, "dog": 0})
    from_folder(tmp_path)
    assert warnings_shown() == ["test has no image of dog"]


def _of_splits(root, **parts):
    for name, counts in parts.items():
        (root / name).mkdir()
        folders(root / name, counts)


TWO = {"cat": 4, "dog": 4}
WRONG = {
    "not there": (lambda r: r.rmdir(), {}, "data_dir: got {r}, expected an existing folder"),
    "nothing in it": (lambda r: None, {}, "data_dir: got {r}, an empty folder, expected a folder for each class: DIR/CLASS/image.jpg"),
    "no folder": (lambda r: (r / "a.txt").touch(), {}, "data_dir: got {r}, which has no folder, expected a folder for each"),
    "images at the top": (lambda r: image(r / "1.png"), {}, "data_dir: got {r}, which has images and no folder, expected a folder for each"),
    "one class": (lambda r: folders(r, {"cat": 3}), {}, "data_dir: got {r} with the one class cat, expected two classes or more"),
    "a folder too high": (lambda r: folders(r / "set"), {}, "data_dir: got {r} with the one class set, expected two classes or more\n  if cat, dog, owl are the classes: dataset.data_dir={r}/set"),
    "an empty class": (lambda r: folders(r, {**TWO, "owl": 0}), {}, "data_dir: got {r}/owl, a class without an image, expected at least one image of each class (.bmp"),
    "too few": (lambda r: folders(r, {"cat": 1, "dog": 1}), {}, "data_dir: got 2 images of 2 classes to divide"),
    "outside the list": (lambda r: folders(r), {"class_names": ["cat", "owls", "dog"]}, "data_dir: got labels outside the class list: 'owl', expected those of dataset.class_names: cat, owls, dog\n  did you mean owls?"),
    "listed and not there": (lambda r: folders(r, TWO), {"class_names": ["cat", "dog", "owl"]}, "data_dir: got no image of class 'owl', expected at least one of each class"),
    "another number": (lambda r: folders(r), {"num_classes": 5}, "num_classes: got 5, expected 3, as {r} has cat, dog, owl"),
    "only in test": (lambda r: _of_splits(r, train=TWO, val=TWO, test={**TWO, "owl": 1}), {}, "data_dir: got class 'owl' in test but not in train, expected images of each class to train on"),
    "an empty split": (lambda r: _of_splits(r, train=TWO, val={}, test=TWO), {}, "splits.validation: got 'val' without an image, expected a split with images in it"),
    "test without classes": (lambda r: (_of_splits(r, train=TWO), image(r / "test" / "1.png")), {}, "splits.test: got 'test' with images that are in no class folder (1), expected a folder for each class in it"),
    "splits without classes": (lambda r: (image(r / "train" / "1.png"), image(r / "test" / "1.png")), {}, "splits.train: got 'train' with images that are in no class folder (1)"),
    "a split that is not there": (lambda r: _of_splits(r, train=TWO, tests=TWO), {"splits": SplitsConfig(test="test")}, "splits.test: got 'test', expected one of tests, train, in {r}\n  did you mean tests?"),
    "no train": (lambda r: _of_splits(r, val=TWO, test=TWO), {}, "splits.train: got nothing, expected the part to train on: {r} has test, val and no train"),
    "nonsense in the file": (lambda r: (folders(r), (r / "cait_splits.csv").write_text("?\n")), {}, "splits.file: got {r}/cait_splits.csv, row 1: '?', expected the header path,split"),
}  # fmt: skip


def test_folders_have_one_class_per_image(tmp_path):
    folders(tmp_path)
    message = r"^task: got multi_label with dataset\.source=folder, expected classification: in fol"
    with pytest.raises(UserError, match=message):
        from_folder(tmp_path, ANY_CLASSES)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_raises_an_error_that_names_the_key(case, tmp_path):
    make, options, message = WRONG[case]
    root = tmp_path / "images"
    root.mkdir()
    make(root)
    with pytest.raises(UserError) as error:
        from_folder(root, **options)
    assert str(error.value).startswith("dataset." + message.format(r=root))


def test_the_folder_of_one_class_is_answered_with_the_folder_above(tmp_path):
    folders(tmp_path, TWO)
    message = (
        rf"\n  If cat is one of the classes: .*={tmp_path}; for images without labels: .* images="
    )
    with pytest.raises(UserError, match=message):
        from_folder(tmp_path / "cat")


def test_a_missing_data_dir_raises_an_error():
    with pytest.raises(
        UserError, match=r"^dataset\.data_dir: got nothing.*\n  add dataset\.data_dir"
    ):
        load_source(DatasetConfig(source="folder", name="folder"))


def test_the_command_line_accepts_dataset_folder(tmp_path):
    folders(tmp_path)
    config = checked("dataset=folder", f"dataset.data_dir={tmp_path}")
    assert load_source(config.dataset).sizes["train"] == 24


def test_a_folder_that_was_renamed_tests_on_the_same_images(tmp_path, warnings_shown):
    for part in ("train", "val"):
        folders(tmp_path / "parts" / part)
    folders(tmp_path / "plain")
    (tmp_path / "plain" / "cat" / "deep").mkdir()
    image(tmp_path / "plain" / "cat" / "deep" / "er.png")
    for root, above in ((tmp_path / "parts", "train/"), (tmp_path / "plain", "")):
        before = from_folder(root)
        (root / f"{above}cat").rename(root / f"{above}zebra")
        if above:
            (root / "val" / "cat").rename(root / "val" / "zebra")
        after = from_folder(root)
        for split in ("train", "validation", "test"):
            renamed = sorted(name.replace("cat", "zebra") for name in ids(before, split))
            assert sorted(ids(after, split)) == renamed
        assert "under another path keep their split (cat → zebra)" in after.notes[-1]
    assert warnings_shown() == []


def test_a_relabelled_image_keeps_its_split(tmp_path):
    folders(tmp_path, {"cat": 10, "dog": 10})
    for number in range(10):  # names that no other class has
        (tmp_path / "cat" / f"{number:02}.png").rename(tmp_path / "cat" / f"c{number}.png")
    before = from_folder(tmp_path)
    (tested,) = [name for name in ids(before, "test") if name.startswith("cat")]
    (tmp_path / tested).rename(tmp_path / "dog" / tested[4:])
    after = from_folder(tmp_path)
    assert f"dog/{tested[4:]}" in ids(after, "test")
    assert after.notes[-1].endswith(", 1 under another path keep their split (cat → dog)")


def test_an_image_that_went_away_is_dropped(tmp_path):
    folders(tmp_path)
    before = from_folder(tmp_path)
    (tmp_path / ids(before, "train")[0]).unlink()
    shutil.rmtree(tmp_path / "owl")
    after = from_folder(tmp_path)
    assert after.class_names == ("cat", "dog")
    assert ids(after, "test") == [name for name in ids(before, "test") if "owl" not in name]
    assert after.notes[0].endswith(", 11 gone")
