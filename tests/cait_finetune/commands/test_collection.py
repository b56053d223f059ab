"""The command that builds the collection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cait_finetune.commands import collection as command
from cait_tf import collection, create_model, save_weights
from tests.cait_tf.test_collection import InThisProcess

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "names: got nothing, expected names=[NAME,NAME], or all=true"),
        (["all=true", "names=cait_s24_224"], "names: got names beside all=true"),
        (["names=cait_s24_244"], "did you mean 'cait_s24_224'"),
        (["names=cait_s24_224", "weights=no.safetensors"], "expected an existing file"),
        (["names=cait_nano_32"], "cait_nano_32 has no published weights"),
    ],
)
def test_a_mistake_is_one_message(words, message, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(sys, "argv", ["collection", *words])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert str(stopped.value).startswith("cait_finetune collection: ")
    assert message in stopped.value.code
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_all_builds_twenty_models_or_ten_feature_extractors(monkeypatch, tmp_path):
    built = []
    monkeypatch.setattr(collection, "build_many", lambda *values: built.append(values))
    command.build(command.CollectionConfig(all=True, out=str(tmp_path)))
    command.build(command.CollectionConfig(all=True, feature_extractor=True))
    assert [len(entries) for entries, *_ in built] == [20, 10]
    assert built[0][1:] == ("hub", tmp_path)


@pytest.mark.slow
def test_the_command_builds_a_feature_extractor_in_a_new_process(tmp_path):
    save_weights(create_model("cait_nano_32", num_classes=1000), tmp_path / "w.safetensors")
    words = ["names=cait_nano_32", "feature_extractor=true", f"weights={tmp_path}/w.safetensors"]
    done = subprocess.run(
        [sys.executable, "-m", "cait_finetune", "collection", *words, f"out={tmp_path}/out"],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cait_nano_32_fe: written" in done.stdout
    assert (tmp_path / "out" / "cait_nano_32_fe.tar.gz").is_file()
