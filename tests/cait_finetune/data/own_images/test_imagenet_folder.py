"""ImageNet's validation images in synset folders."""

from __future__ import annotations

import pytest

from cait_finetune.config import DatasetConfig
from cait_finetune.data.opening import open_source
from cait_finetune.errors import UserError
from cait_tf.imagenet import synsets
from tests.cait_finetune.stand_ins import encode, picture


def configured(root) -> DatasetConfig:
    return DatasetConfig(source="imagenet_folder", name="imagenet_folder", data_dir=str(root))


def write(root, label, count):
    folder = root / synsets()[label]
    folder.mkdir(parents=True)
    for number in range(count):
        data = encode(picture(10, 12, seed=number), "JPEG")
        (folder / f"ILSVRC2012_val_{number}.JPEG").write_bytes(data)


def test_labels_are_those_of_all_thousand_classes(tmp_path):
    write(tmp_path, 999, 2)
    write(tmp_path, 207, 1)
    (tmp_path / "LOC_val_solution.csv").write_text("")  # beside the folders: no matter
    source = open_source(configured(tmp_path))
    assert source.sizes["test"] == 3
    assert source.class_names[207] == "golden retriever"
    examples = list(source.examples("test").as_numpy_iterator())
    assert [int(example["label"]) for example in examples] == [207, 999, 999]
    assert examples[0]["id"] == b"n02099601/ILSVRC2012_val_0.JPEG"
    assert examples[0]["image"] == encode(picture(10, 12, seed=0), "JPEG")


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
def test_what_is_no_such_folder(make, message, tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    make(root)
    with pytest.raises(UserError, match=r"^dataset\.data_dir: got ") as caught:
        open_source(configured(root))
    assert message in str(caught.value)


def test_the_key_is_needed():
    with pytest.raises(UserError, match=r"dataset\.data_dir: got nothing"):
        open_source(DatasetConfig(source="imagenet_folder", name="imagenet_folder"))
