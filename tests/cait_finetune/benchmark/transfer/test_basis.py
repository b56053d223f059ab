import dataclasses
import os

import pytest

from cait_finetune.benchmark.transfer import basis
from cait_finetune.benchmark.transfer.basis import Bases
from cait_finetune.benchmark.transfer.cell import METHODS
from cait_finetune.data.opening import open_source
from tests.cait_finetune.benchmark.transfer.stand_ins import cell
from tests.cait_finetune.data.image_files import from_folder
from tests.cait_finetune.stand_ins import encode, picture


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder of images in the place of the digits."""
    for number in range(20):
        path = tmp_path / ("cat", "dog")[number % 2] / f"{number:02}.bmp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(picture(9, 9, number), "BMP"))
    monkeypatch.setattr(basis, "open_source", lambda config: from_folder(tmp_path))
    return tmp_path


def test_what_the_command_line_has_does_not_count(root):
    bases = Bases()
    assert bases(cell(share=0.05, seed=3, epochs=7, steps_per_epoch=9)) == bases(cell())


def test_each_method_has_its_own_configuration(root):
    bases = Bases()
    # "3x" is longer, which the command line says.
    assert len({bases(cell(method)) for method in METHODS}) == len(METHODS) - 1


def test_the_data_set_is_opened_and_the_weights_are_read_once(monkeypatch):
    opened, read = [], []
    monkeypatch.setattr(
        basis, "open_source", lambda config: opened.append(config) or open_source(config)
    )
    monkeypatch.setattr(basis.models, "start_checksum", lambda *what: read.append(what) or "a")
    bases = Bases()
    for method in METHODS:
        bases(cell(method))
    assert len(opened) == 1
    assert read == [("cait_nano_32", "none"), ("cait_nano_32", "pretrained")]


def replace(root):
    path = root / "cat" / "00.bmp"
    stat = path.stat()
    path.write_bytes(encode(picture(9, 9, 99), "BMP"))
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))


def remove(root):
    (root / "cat" / "00.bmp").unlink()


def relabel(root):
    (root / "cat" / "00.bmp").rename(root / "dog" / "00.bmp")


def rename(root):
    (root / "cat").rename(root / "lynx")


@pytest.mark.parametrize("change", [replace, remove, relabel, rename])
def test_other_images_are_another_basis(root, change):
    before = Bases()(cell())
    assert Bases()(cell()) == before
    change(root)
    assert Bases()(cell()) != before


def test_images_with_other_times_are_the_same(root):
    before = Bases()(cell())
    for path in root.glob("*/*"):
        os.utime(path, (1, 1))
    assert Bases()(cell()) == before


def test_another_default_of_the_configuration_is_another_basis(root, monkeypatch):
    before, real = Bases()(cell()), basis.configure

    def changed(*words):
        config = real(*words)
        return dataclasses.replace(
            config, train=dataclasses.replace(config.train, label_smoothing=0.3)
        )

    monkeypatch.setattr(basis, "configure", changed)
    assert Bases()(cell()) != before


def test_other_weights_are_another_basis_where_they_are_used(root, monkeypatch):
    methods = ("from scratch", "full")
    before = [Bases()(cell(method)) for method in methods]
    monkeypatch.setattr(
        basis.models,
        "start_checksum",
        lambda name, weights, real=basis.models.start_checksum: (
            "other" if weights == "pretrained" else real(name, weights)
        ),
    )
    after = [Bases()(cell(method)) for method in methods]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]
