"""The list of a run's images."""

from __future__ import annotations

from cait_finetune.data.fingerprint import Image
from cait_finetune.runs.image_list import is_whole, read_images, write_images

IMAGES = [Image("train", 'a "b",\n\udce9.jpg', "ant\x1fbee", "0f"), Image("test", "c", "ant")]


def test_a_written_list_is_read_back(tmp_path):
    path = tmp_path / "images.csv.gz"
    write_images(path, IMAGES)
    assert read_images(path) == IMAGES
    assert is_whole(path)


def test_a_list_that_is_cut_off_or_missing_has_no_images(tmp_path):
    path = tmp_path / "images.csv.gz"
    assert read_images(path) == []
    assert not is_whole(path)
    write_images(path, IMAGES)
    path.write_bytes(path.read_bytes()[:-9])
    assert read_images(path) == []
    assert not is_whole(path)
