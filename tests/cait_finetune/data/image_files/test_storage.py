"""Files on a disk, and in a file system that only TensorFlow can open."""

from __future__ import annotations

import os

import pytest
import tensorflow as tf

from cait_finetune.data.image_files import storage
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import from_folder, image


@pytest.fixture(params=["disk", "memory"])
def root(request, tmp_path):
    if request.param == "disk":
        yield str(tmp_path)
        return
    folder = f"ram://{tmp_path.name}"
    tf.io.gfile.makedirs(folder)
    yield folder
    tf.io.gfile.rmtree(folder)


def put(path, text="x"):
    tf.io.gfile.makedirs(storage.parent(path))
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)


@pytest.mark.parametrize("size", [0, 3, 3_000_000])
def test_a_file_is_read_whole(root, size):
    put(f"{root}/file", "x" * size)
    assert storage.read(f"{root}/file") == b"x" * size


def test_files_below_are_in_order_without_what_is_hidden(root):
    hidden = (".DS_Store", "a/._1.png", "__MACOSX/1.png", "a/@eaDir/1.png", "a/Thumbs.db")
    for path in ("b.png", "a/2.png", "a/1.png", "a/deep/er/3.png", *hidden):
        put(f"{root}/{path}")
    found = ["b.png", "a/1.png", "a/2.png", "a/deep/er/3.png"]
    assert list(storage.files_below(root)) == found
    assert storage.entries(root) == [("a", True), ("b.png", False)]
    assert storage.names(f"{root}/a/deep/er") == {"3.png"}
    assert storage.names(f"{root}/nothing") == set()


def test_a_written_file_is_read_back(root):
    path = storage.join(root, "some/../file.csv")
    assert not storage.exists(path)
    for text in ("one\n", "tŵo\r\n"):
        storage.write(path, text)
        with storage.opened(path) as file:
            assert file.read() == text.encode()
        assert storage.size_and_times(path)[0] == len(text.encode())
    assert storage.names(root) == {"file.csv"}  # no temporary file remains
    assert storage.parent(path) == root


def test_the_place_has_to_be_there(root):
    refused = r"^a\.key: got .*nothing, expected an existing folder\n  Set a\.key to its path\.$"
    with pytest.raises(UserError, match=refused):
        storage.located("a.key", f"{root}/nothing", "folder")
    put(f"{root}/list.csv")
    with pytest.raises(UserError, match=r"\n  did you mean list\.csv\?$"):
        storage.located("a.key", f"{root}/lists.csv", "file")
    assert storage.located("a.key", f"{root}/list.csv", "file") == f"{root}/list.csv"
    with pytest.raises(UserError, match=r"which is a file, expected a folder\n  dataset=csv reads"):
        storage.located("a.key", f"{root}/list.csv", "folder")
    with pytest.raises(UserError, match=r"which is a folder, expected a file\n  dataset=folder "):
        storage.located("a.key", root, "file")


def test_a_bucket_without_its_plugin():
    with pytest.raises(
        UserError, match=r"^dataset\.data_dir: got s3://bucket/set, expected a path"
    ):
        from_folder("s3://bucket/set")


def test_schemes_that_tensorflow_knows():
    for path in ("", "/a", "a:b", "gs://bucket/a", "ram://a", "file:///a"):
        storage.check_readable("a.key", path)
    for path in ("https://a.org/b", "S3://a", "hdfs://a", "GS://a"):
        with pytest.raises(UserError, match=rf"^a\.key: got {path}, expected a path that"):
            storage.check_readable("a.key", path)


def test_real_paths(tmp_path):
    image(tmp_path / "a" / "1.png")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c.png").symlink_to("b/1.png")
    paths = [f"{tmp_path}/{name}" for name in ("a/1.png", "b/1.png", "c.png", "no/1.png")]
    real = str((tmp_path / "a" / "1.png").resolve())
    assert storage.real_paths([*paths, "gs://b/1.png", "/x.png"]) == [
        *[real] * 3,
        f"{tmp_path.resolve()}/no/1.png",
        *("gs://b/1.png", "/x.png"),
    ]


def test_join_keeps_absolute_paths_and_urls():
    assert storage.join("/data", "/else/1.png") == "/else/1.png"
    assert storage.join("/data", "gs://bucket/1.png") == "gs://bucket/1.png"
    assert storage.join("gs://bucket/set", "../1.png") == "gs://bucket/1.png"


def test_links_are_followed_but_not_in_circles(tmp_path):
    image(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    assert list(storage.files_below(str(tmp_path / "root"))) == ["link/1.png"]


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"a folder that can be read \(Permission denied\)"):
        storage.entries(str(tmp_path))


def test_a_name_that_is_not_utf8(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    with pytest.raises(
        UserError, match=r"got the name caf\\udce9\.png in .*, expected names in UTF"
    ):
        storage.entries(str(tmp_path))


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(OSError, match="No space"):
        storage.write(str(tmp_path / "file.csv"), "text")
    assert not list(tmp_path.iterdir())
