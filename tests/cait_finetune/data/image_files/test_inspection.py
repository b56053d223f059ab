"""The check of files before training: file kinds and content hashes."""

from __future__ import annotations

import pytest
import tensorflow as tf

from cait_finetune.data.decode import decode
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.inspection import in_threads, inspected
from cait_finetune.errors import UserError
from tests.cait_finetune.data.bmp_files import bitmap, numbers
from tests.cait_finetune.data.made_images import folders, from_folder, from_table, ids, image, table
from tests.cait_finetune.data.test_bmp import FORMS
from tests.cait_finetune.stand_ins import encode, picture

STRANGERS = {
    "empty": b"",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1",
    "a video": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2",
    "TIFF": b"II*\0\x08\0\0\0",
    "HTML": b"\n<!DOCTYPE html><html>",
    "SVG or other XML": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": b"%PDF-1.7\n",
    "ZIP": b"PK\3\4\x14\0",
    "gzip": b"\x1f\x8b\x08\0",
    "Photoshop": b"8BPS\0\1",
    "an icon": b"\0\0\1\0\1\0\x10\x10",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "DICOM": bytes(128) + b"DICM",
    "a Git LFS pointer: git lfs pull fetches the image": b"version https://git-lfs.github.com/spec/v1\n",
    "zeros": bytes(200),
    "text": b"BMW and other words",
    "NPY, which is read only with another model.in_channels than 3": b"\x93NUMPY\1\0",
    "no image": b"\x93other\1\0",
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "MPO"])
def test_every_kind_that_is_decoded(kind, tmp_path):
    path = tmp_path / "image.any"
    path.write_bytes(encode(picture(5, 6), kind))
    assert inspected([str(path)], ["image"], "stop")[0] >= 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_one_pixel_in_the_middle_changes_the_content_hash(kind, tmp_path):
    pixels = picture(300, 300)
    other = pixels.copy()
    other[150, 150] ^= 128
    other[:16, :16] += 6  # behind this corner, the bytes of a GIF or a JPEG may be equal again
    paths = [str(tmp_path / name) for name in ("one", "same", "other")]
    for path, content in zip(paths, (pixels, pixels, other), strict=True):
        (tmp_path / path).write_bytes(encode(content, kind))
    one, same, changed = inspected(paths, paths, "stop")
    assert one == same != changed


def jpeg(frame: int, bits: int = 8, colours: int = 3, size: int = 40, before: bytes = b"") -> bytes:
    """Return a JPEG up to the end of its frame header."""
    header = bytes([bits]) + size.to_bytes(2, "big") * 2 + bytes([colours]) + bytes(3 * colours)
    return b"\xff\xd8" + before + bytes([0xFF, frame, 0, len(header) + 2]) + header


EXIF = b"\xff\xe1\x02\x02" + bytes(512) + b"\xff\xff\xe0\0\x04ab"
PNG = encode(picture(5, 6), "PNG")
NOT_DECODED = {
    "a BMP with RLE8 compression: convert it to PNG": bitmap(8, numbers(8), kind=1),
    "a BMP with RLE4 compression: convert it to PNG": bitmap(4, numbers(4), kind=2),
    "a BMP with RLE24 compression: convert it to PNG": bitmap(24, numbers(8), 64, kind=4),
    "a BMP with JPEG compression: convert it to PNG": bitmap(0, [b""], kind=4),
    "a BMP with unknown compression: convert it to PNG": bitmap(32, numbers(8), kind=6),
    "a BMP with Huffman compression: convert it to PNG": bitmap(1, numbers(1), 64, kind=3),
    "a BMP of 2 bits a pixel: convert it to PNG": bitmap(2, numbers(8)),
    "a BMP of OS/2 with a short header: convert it to PNG": bitmap(8, numbers(8), 16),
    "a BMP with unusual colour masks: convert it to PNG": bitmap(
        32, numbers(8), masks=(0x3FF00000, 0xFFC00, 0x3FF)
    ),
    "a lossless JPEG: convert it to PNG": jpeg(0xC3, before=EXIF),
    "a hierarchical JPEG": jpeg(0xC5),
    "JPEG-LS": jpeg(0xF7),
    "a JPEG of 12 bits: convert it to 8": jpeg(0xC1, bits=12),
    "a JPEG of 2 colours": jpeg(0xC0, colours=2),
    "65,000 x 65,000 pixels": jpeg(0xC2, size=65000),
    "60,000 x 60,000 pixels": PNG[:16] + (60_000).to_bytes(4, "big") * 2 + PNG[24:],
    "an animated WebP": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(9),
    "a PNG made for iPhones: convert it with pngcrush -revert-iphone-optimizations": (
        PNG[:8] + b"\0\0\0\x04CgBI" + bytes(8) + PNG[8:]
    ),
}


@pytest.mark.parametrize("kind", NOT_DECODED)
def test_a_kind_that_cannot_be_decoded_is_named(kind, tmp_path):
    path = tmp_path / "image.any"
    path.write_bytes(NOT_DECODED[kind])
    with pytest.raises(UserError) as error:
        inspected([str(path)], ["image"], "stop")
    assert f": image ({kind}), expected" in str(error.value)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(NOT_DECODED[kind]))


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2, 0xC9, 0xCA])
@pytest.mark.parametrize("colours", [1, 3, 4])
def test_jpegs_that_can_be_decoded_are_taken(frame, colours, tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(jpeg(frame, colours=colours, before=EXIF))
    assert inspected([str(path)], ["image"], "stop")[0] > 0


@pytest.mark.parametrize("form", FORMS)
def test_bmps_that_are_decoded_are_taken(form, tmp_path):
    path = tmp_path / "image.bmp"
    path.write_bytes(FORMS[form])
    assert inspected([str(path)], ["image"], "stop")[0] > 0


def test_bytes_after_the_image_are_ignored(tmp_path):
    """Some phones append a video to a JPEG."""
    path = tmp_path / "motion.jpg"
    path.write_bytes(encode(picture(5, 6), "JPEG") + STRANGERS["a video"] * 100)
    assert inspected([str(path)], ["motion.jpg"], "stop")[0] > 0


@pytest.mark.parametrize("kind", STRANGERS)
def test_the_error_names_the_kind_of_a_file_that_is_not_an_image(kind, tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(STRANGERS[kind])
    with pytest.raises(UserError) as error:
        inspected([str(path)], ["a/image.jpg"], "stop")
    assert str(error.value) == (
        f"dataset.data_dir: got 1 file that cannot be read: a/image.jpg ({kind}), expected images that "
        "TensorFlow decodes (JPEG, PNG, GIF, WebP, BMP)\n"
        "  Repair or remove these files, or add dataset.on_corrupt=skip"
    )


def test_the_first_five_are_named(tmp_path, warnings_shown):
    paths = [str(tmp_path / f"{number}.png") for number in range(8)]
    for path in paths[:-1]:
        storage.write(path, "")
    image(tmp_path / "7.png")
    shown = "0 (empty), 1 (empty), 2 (empty), 3 (empty), 4 (empty), … (7 in all)"
    with pytest.raises(
        UserError, match=r"got 7 files that cannot be read: 0 \(empty\), 1 "
    ) as error:
        inspected(paths, "01234567", "stop")
    assert shown in str(error.value)
    hashes = inspected(paths, "01234567", "skip")
    assert hashes[:-1].tolist() == [-1] * 7
    assert hashes[-1] > 0
    assert warnings_shown() == [f"files that cannot be read are left out: {shown}"]


def test_files_that_may_not_be_opened(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", path)

    image(tmp_path / "a.png")
    monkeypatch.setattr(storage, "read", refuse)
    with pytest.raises(UserError, match=r"1 file that cannot be read: a \(Permission denied\)"):
        inspected([str(tmp_path / "a.png")], ["a"], "stop")
    monkeypatch.undo()
    (tmp_path / "b.png").mkdir()
    with pytest.raises(UserError, match=r"b \(Is a directory\)"):
        inspected([str(tmp_path / "b.png")], ["b"], "stop")


def test_on_corrupt_skip_omits_and_lists_unreadable_files(tmp_path):
    folders(tmp_path)
    before = from_folder(tmp_path)
    bad = [ids(before, "train")[0], ids(before, "train")[9]]
    for name in bad:
        (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=r"got 2 files that cannot be read: "):
        from_folder(tmp_path)
    source = from_folder(tmp_path, on_corrupt="skip")
    assert source.unreadable == tuple(bad)
    assert source.left_out == {"train": 0, "validation": 0, "test": 0}  # they are in no split
    assert ids(source, "train") == [name for name in ids(before, "train") if name not in bad]
    assert ids(source, "test") == ids(before, "test")
    whole = from_folder(tmp_path, check=False)
    assert whole.sizes == before.sizes  # once mended, they are in their split again
    assert whole.unreadable == ()


def test_a_broken_file_takes_no_place_in_a_new_division(tmp_path):
    folders(tmp_path, {"cat": 14, "dog": 10})
    for number in (3, 5, 7, 9):
        (tmp_path / "cat" / f"{number:02}.png").write_text("")
    source = from_folder(tmp_path, on_corrupt="skip")
    assert len(source.unreadable) == 4
    assert source.sizes == {"train": 16, "validation": 2, "test": 2}
    assert {split: source.class_counts(split).tolist() for split in ("validation", "test")} == {
        "validation": [1, 1], "test": [1, 1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("emptied", "message"),
    [
        (("train/cat",), "data_dir: got class 'cat' in validation and test but not in train"),
        (
            ("val/cat", "val/dog"),
            "splits.validation: got 'val' with no readable image, expected a",
        ),
        (
            ("train/cat", "val/cat", "test/cat"),
            "data_dir: got no image of class 'cat', expected at",
        ),
    ],
)
def test_skipping_is_refused_if_a_split_or_class_becomes_empty(emptied, message, tmp_path):
    for part in ("train", "val", "test"):
        folders(tmp_path / part, {"cat": 2, "dog": 2})
    for folder in emptied:
        for path in (tmp_path / folder).iterdir():
            path.write_text("")
    with pytest.raises(UserError) as error:
        from_folder(tmp_path, on_corrupt="skip")
    assert str(error.value).startswith(f"dataset.{message}")


def test_files_of_a_table_too(tmp_path):
    folders(tmp_path)
    (tmp_path / "cat" / "00.png").write_text("")
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in tmp_path.glob("*/*")]
    with pytest.raises(UserError, match=r"cannot be read: cat/00\.png \(empty\)"):
        from_table(table(tmp_path / "list.csv", rows))


def test_threads_keep_the_order():
    assert in_threads("counting", lambda number: 2 * number, range(1000)) == list(range(0, 2000, 2))
