"""A forgotten `model.in_channels` is named, with the number of channels of the files."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.data.image_files.signatures import fault
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import folders, from_folder, from_table


def files_of(root, values, ending=".npy"):
    """Write a folder of two classes with three files each, and a table of them."""
    rows = ["path,label"]
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            path = root / name / f"{number}{ending}"
            if ending == ".npy":
                np.save(path, values)
            else:
                tifffile = pytest.importorskip("tifffile")
                tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
            rows.append(f"{path.relative_to(root)},{name}")
    table = root / "list.csv"
    table.write_text("\n".join(rows))
    return root, table


@pytest.mark.parametrize("ending", [".npy", ".tif"])
@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((6, 5, 13), r"Set model\.in_channels=13\."),
        ((6, 5), r"Set model\.in_channels=1\."),
        ((6, 5, 3), "Convert images of 3 channels to PNG"),
    ],
)
def test_the_channels_are_named(tmp_path, ending, shape, advice):
    root, table = files_of(tmp_path / "set", np.zeros(shape, "uint16"), ending)
    with pytest.raises(UserError, match=rf"there are files .*\{ending}.*\n  {advice}"):
        from_folder(root)
    with pytest.raises(
        UserError,
        match=rf"ant/0\{ending}, expected images with model\.in_channels=3 .*\n  {advice}",
    ):
        from_table(table)


def test_files_that_cannot_be_read_have_some_number(tmp_path):
    root, _ = files_of(tmp_path / "set", np.zeros((6, 5, 4), "int16"))
    with pytest.raises(UserError, match=r"Set model\.in_channels=N, the number of their channels"):
        from_folder(root)


def test_splits_of_bands(tmp_path):
    for split in ("train", "test"):
        files_of(tmp_path / split, np.zeros((6, 5, 4), "uint8"))
    with pytest.raises(UserError, match=r"'train' without an image.*\n  Set model\.in_channels=4"):
        from_folder(tmp_path)


def test_an_empty_class_beside_bands_elsewhere_is_empty(tmp_path):
    folders(tmp_path)
    np.save(tmp_path / "cat" / "bands.npy", np.zeros((6, 5, 4)))
    (tmp_path / "ant").mkdir()
    with pytest.raises(UserError, match="add images, or remove the folder"):
        from_folder(tmp_path)


def test_an_npy_among_photographs_is_named():
    assert fault(b"\x93NUMPY") == "NPY, which is read only with another model.in_channels than 3"
    assert fault(b"\x93NUMPY", bands=True) == ""
