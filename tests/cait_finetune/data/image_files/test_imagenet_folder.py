"""ImageNet's validation images in synset folders."""

from __future__ import annotations

import pytest

from cait_finetune.config import DatasetConfig
from cait_finetune.data.load import load_source
from cait_finetune.errors import UserError
from cait_tf.imagenet import synsets
from tests.cait_finetune.stand_ins import encode, picture


def configured(root, **options) -> DatasetConfig:
    return DatasetConfig(
        source="imagenet_folder",
        name="imagenet_folder",
        data_dir=str(root),
        evaluation_only=True,
        **options,
    )


def write(root, label, count):
    folder = root / synsets()[label]
    folder.mkdir(parents=True)
    for number in range(count):
        data = encode(picture(10, 12, seed=number), "JPEG")
        (folder / f"ILSVRC2012_val_{number}.JPEG").write_bytes(data)


def test_labels_are_those_of_all_thousand_classes(tmp_path):
    write(tmp_path, 999, 2)
    write(tmp_path, 207, 1)
    (tmp_path / "LOC_val_solution.csv").write_text("")  # a file beside the folders is ignored
    source = load_source(configured(tmp_path))
    assert source.sizes["test"] == 3
    assert source.class_names[207] == "golden retriever"
    examples = list(source.examples("test").as_numpy_iterator())
    assert [int(example["label"]) for example in examples] == [207, 999, 999]
    assert examples[0]["id"] == b"n02099601/ILSVRC2012_val_0.JPEG"
    assert examples[0]["image"] == encode(picture(10, 12, seed=0), "JPEG")


def test_it_is_listed_and_checked_as_other_folders(tmp_path, warnings_shown):
    write(tmp_path, 1, 2)
    folder = tmp_path / synsets()[1]
    (folder / "deep").mkdir()
    for name in ("deep/1.jfif", "._ILSVRC2012_val_0.JPEG", "empty.jpg", "notes.txt"):
        (folder / name).write_bytes((folder / "ILSVRC2012_val_0.JPEG").read_bytes())
    (folder / "empty.jpg").write_bytes(b"")
    for name in (".ipynb_checkpoints", "lost+found", "@eaDir"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path.parent / f"{tmp_path.name} elsewhere")
    (tmp_path / synsets()[2]).symlink_to(tmp_path.parent / f"{tmp_path.name} elsewhere")
    image = encode(picture(10, 12, seed=9), "JPEG")
    (tmp_path.parent / f"{tmp_path.name} elsewhere" / "a.jpe").write_bytes(image)
    with pytest.raises(UserError, match=r"1 file that cannot be read: n01443537/empty.jpg \(empty"):
        load_source(configured(tmp_path))
    source = load_source(configured(tmp_path, on_corrupt="skip"))
    assert source.unreadable == ("n01443537/empty.jpg",)
    names = ["n01443537/ILSVRC2012_val_0.JPEG", "n01443537/ILSVRC2012_val_1.JPEG"]
    assert list(source.ids("test")) == [*names, "n01443537/deep/1.jfif", "n01484850/a.jpe"]
    assert source.labels("test").tolist() == [1, 1, 1, 2]
    assert len(warnings_shown()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a", "b"]}, r"class_names: got a, b, expected null with dataset.source="),
    ],
)
def test_the_synsets_leave_no_choice(options, message, tmp_path):
    with pytest.raises(UserError, match=rf"^dataset\.{message}"):
        load_source(configured(tmp_path, **options))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.rmdir(), "expected an existing folder"),
        (lambda root: None, "no folder, expected folders named by ImageNet-1k synsets"),
        (lambda root: (root / "val").mkdir(), "with val, expected folders named"),
        (lambda root: (root / "n00000001").mkdir(), "with n00000001, expected folders named"),
        (lambda root: (root / synsets()[0]).mkdir(), "expected images"),
    ],
)
def test_a_folder_without_synset_folders_is_refused(make, message, tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    make(root)
    with pytest.raises(UserError, match=r"^dataset\.data_dir: got ") as caught:
        load_source(configured(root))
    assert message in str(caught.value)


def test_a_missing_data_dir_raises_an_error():
    with pytest.raises(UserError, match=r"dataset\.data_dir: got nothing"):
        load_source(DatasetConfig(source="imagenet_folder", name="imagenet_folder"))
