"""Paths with ``~``, and caches, in a process with and without a home directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cait_finetune.cli.arguments import read_keys
from cait_finetune.cli.compose import configure, configure_run
from cait_finetune.config.places import expanded, expanded_path
from cait_finetune.data.image_files import split_file
from cait_finetune.data.image_files.hash_cache import HashCache
from cait_finetune.data.label_index import cache_directory, kept_index
from cait_finetune.errors import UserError
from cait_finetune.inference.files import find_images
from cait_finetune.runtime.xla_cache import keep_compiled

SOURCES = Path(__file__).resolve().parents[3]


def test_only_places_py_reads_the_home_directory():
    names = (".expanduser(", "Path.home(")
    users = [
        path.relative_to(SOURCES).as_posix()
        for package in ("cait_tf", "cait_finetune")
        for path in (SOURCES / package).rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in names)
    ]
    assert users == ["cait_tf/places.py"]


def test_a_path_without_a_home_is_a_message(no_home):
    with pytest.raises(UserError, match=r"^run: got ~/x, expected a path without ~"):
        expanded("run", "~/x")
    with pytest.raises(UserError, match=r"^images: got ~/x"):
        find_images(["~/x"])
    with pytest.raises(UserError, match=r"^dataset\.data_dir: got ~/x"):
        configure("dataset=folder", "dataset.data_dir=~/x")
    with pytest.raises(UserError, match=r"^hydra\.run\.dir: got ~/x"):
        configure_run("hydra.run.dir=~/x")
    assert expanded_path("run", "x") == Path("x")


def test_the_run_directory_may_be_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "a b"))
    assert configure_run("hydra.run.dir=~/runs/1")[1] == tmp_path / "a b" / "runs" / "1"


def test_nothing_is_kept_and_everything_works(no_home, caplog, tmp_path):
    configure()
    environment: dict[str, str] = {}
    keep_compiled(Path("~/.cache/cait_finetune/compiled"), environment)
    assert environment == {}
    assert cache_directory() is None
    assert kept_index("x", {}, lambda: "the index") == "the index"
    cache = HashCache([f"{tmp_path}/a", f"{tmp_path}/b"])
    cache.keep([(1, 1), (1, 1)], [5, 6])
    assert cache.get(f"{tmp_path}/a", (1, 1)) is None
    assert split_file._cached("/images/cait_splits.csv") is None
    (record,) = caplog.records
    assert record.getMessage().startswith("caches: got no home directory; nothing is kept")


def test_a_cache_that_cannot_be_written_is_the_same_warning(no_home, monkeypatch, caplog, tmp_path):
    (tmp_path / ".cache").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    environment: dict[str, str] = {}
    keep_compiled(Path("~/.cache/cait_finetune/compiled"), environment)
    HashCache([f"{tmp_path}/a"]).keep([(1, 1)], [5])
    assert environment == {}
    (record,) = caplog.records
    assert f"{tmp_path}/.cache" in record.getMessage()


def test_a_command_without_a_home_refuses_a_tilde_path(no_home):
    from cait_finetune.commands.report import ReportConfig, report

    with pytest.raises(UserError, match=r"^run: got ~/x, expected a path without ~"):
        report(read_keys(["run=~/x"], ReportConfig))
    assert not os.path.exists("~")
