"""The cache keeps compiled programs and reuses only undamaged files."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cait_finetune.runtime import xla_cache as compile_cache
from cait_finetune.runtime.xla_cache import (
    conditions,
    keep_compiled,
    remove_damaged,
    remove_oldest,
    seal,
)

FLAG = "--tf_xla_persistent_cache_directory"
PROGRAM = """
import os, sys
from pathlib import Path
from cait_finetune.runtime.xla_cache import keep_compiled, seal
kept = keep_compiled(Path(sys.argv[1]), os.environ)
import tensorflow as tf
for factor in (2, 3):
    times = tf.function(lambda x: factor * x, jit_compile=True)
    print(float(times(tf.constant(14.0))))
seal(kept)
"""


def written(directory: Path, name: str, text: str = "code") -> Path:
    path = directory / f"{name}.pb"
    path.write_text(text)
    return path


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_cache_flag_is_added_to_the_xla_flags_of_the_user(tmp_path):
    environment = {"TF_XLA_FLAGS": "--tf_xla_clustering_debug"}
    folder = tmp_path / "two words" / conditions(environment)
    keep_compiled(tmp_path / "two words", environment)
    assert folder.is_dir()
    flags = shlex.split(environment["TF_XLA_FLAGS"])
    assert flags[:2] == ["--tf_xla_clustering_debug", f"{FLAG}={folder}"]


@pytest.mark.parametrize("flags", ["", f"{FLAG}=/elsewhere"])
def test_a_disabled_or_user_set_cache_stays_unchanged(tmp_path, flags):
    environment = {"TF_XLA_FLAGS": flags}
    keep_compiled(tmp_path / "cache" if flags else None, environment)
    assert environment == {"TF_XLA_FLAGS": flags}
    assert names(tmp_path) == set()


def test_a_directory_that_cannot_be_made_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").touch()
    environment: dict[str, str] = {}
    keep_compiled(tmp_path / "file", environment)
    assert environment == {}
    assert "is not kept" in caplog.text


def test_a_disk_that_is_almost_full_keeps_nothing(tmp_path, caplog, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=99_000_000))
    environment: dict[str, str] = {}
    assert keep_compiled(tmp_path, environment) is None
    assert environment == {}
    assert "has less than 100 MB of free space: compiled code is not kept" in caplog.text


@pytest.mark.parametrize(
    "environment",
    [
        {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"},
        {"TF_XLA_FLAGS": "--tf_xla_clustering_debug"},
        {"TF_ENABLE_ONEDNN_OPTS": "0"},
    ],
)
def test_code_of_other_flags_is_not_used(environment):
    assert conditions(environment) != conditions({}) == conditions({"HOME": "/elsewhere"})


@pytest.mark.parametrize("name", ["system", "machine"])
def test_code_of_another_machine_is_not_used(name, monkeypatch):
    before = conditions({})
    monkeypatch.setattr(compile_cache.platform, name, lambda: "other")
    assert conditions({}) != before


def test_code_of_another_tensorflow_is_not_used(monkeypatch):
    before = conditions({})
    monkeypatch.setattr(compile_cache.importlib.metadata, "version", lambda name: "9.9")
    assert conditions({}) != before


def test_only_what_was_sealed_and_is_as_it_was_stays(tmp_path):
    for name in ("whole", "cut", "changed"):
        written(tmp_path, name)
    seal(tmp_path)
    (tmp_path / "cut.pb").write_text("co")
    (tmp_path / "changed.pb").write_text("cöde")
    written(tmp_path, "of_a_run_that_was_killed")
    remove_damaged(tmp_path)
    assert names(tmp_path) == {"whole.pb", "whole.pb.sum"}


def test_a_seal_is_not_renewed_over_damage(tmp_path):
    path = written(tmp_path, "one")
    seal(tmp_path)
    path.write_text("other")
    seal(tmp_path)
    remove_damaged(tmp_path)
    assert names(tmp_path) == set()


def test_the_oldest_go_first_until_the_rest_fits(tmp_path):
    for age, name in enumerate(("new", "middle", "old")):
        path = written(tmp_path, name, "x" * 10)
        os.utime(path, (1000 - age, 1000 - age))
    seal(tmp_path)
    remove_oldest(tmp_path, 20)
    assert {one.removesuffix(".sum") for one in names(tmp_path)} == {"new.pb", "middle.pb"}
    remove_oldest(tmp_path, 20)
    assert len(names(tmp_path)) == 4


@pytest.mark.slow
def test_tensorflow_keeps_and_uses_it_and_damage_is_healed(tmp_path):
    # Runs of other tests in this process leave the variable set.
    environment = {key: value for key, value in os.environ.items() if key != "TF_XLA_FLAGS"}

    def run() -> list[Path]:
        program = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.split() == ["28.0", "42.0"]
        paths = sorted(tmp_path.rglob("*.pb"))
        assert all(path.with_name(path.name + ".sum").exists() for path in paths)
        return paths

    whole, damaged = run()
    written_at = whole.stat().st_mtime_ns
    os.truncate(damaged, 100)
    damaged_at = damaged.stat().st_mtime_ns
    assert run() == [whole, damaged]
    assert whole.stat().st_mtime_ns == written_at  # the second process reuses the file
    assert damaged.stat().st_mtime_ns != damaged_at
    assert damaged.stat().st_size > 100
