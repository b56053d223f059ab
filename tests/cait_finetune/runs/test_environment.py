"""The record of a run's packages, devices and source code."""

import json
import subprocess

import pytest

from cait_finetune.runs import environment


def test_the_record_holds_devices_packages_and_hardware(tmp_path):
    path = tmp_path / "environment.json"
    environment.record_environment(path, "2 replicas, CPU", begin=True)
    (record,) = json.loads(path.read_text())
    assert record["devices"] == "2 replicas, CPU"
    assert record["packages"]["numpy"] == __import__("numpy").__version__
    assert record["python"].startswith("3.")
    assert record["cpu_cores"] >= 1
    assert record["memory_gb"] > 0


def test_a_resumed_run_has_a_record_more_and_one_begun_anew_has_not(tmp_path):
    path = tmp_path / "environment.json"
    for begin, count in ((True, 1), (False, 2), (False, 3), (True, 1)):
        environment.record_environment(path, f"{count}", begin)
        assert [one["devices"] for one in json.loads(path.read_text())][-1] == f"{count}"
        assert len(json.loads(path.read_text())) == count


@pytest.mark.parametrize("text", ["", "[{", "{}"])
def test_records_that_cannot_be_read_begin_anew(tmp_path, text):
    path = tmp_path / "environment.json"
    path.write_text(text)
    environment.record_environment(path, "CPU", begin=False)
    assert [one["devices"] for one in json.loads(path.read_text())] == ["CPU"]


def test_the_commit_and_what_differs_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_SOURCES", tmp_path / "cait_finetune")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.git_state() is None

    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=b@c", *arguments],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    state = environment.git_state()
    assert len(state["commit"]) == 40
    assert state["changed_files"] == 0
    (tmp_path / "file").write_text("two")
    assert environment.git_state() == {**state, "changed_files": 1}
