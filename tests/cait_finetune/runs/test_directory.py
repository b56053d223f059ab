"""A run creates its directory once and never overwrites another run's files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory, read_json
from cait_tf.atomic import PREFIX, write_text


def contents(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def own(root: Path, key: str = "hydra.run.dir") -> None:
    with RunDirectory(root).owned(key):
        pass


def test_one_process_at_a_time_is_at_work_in_it(tmp_path):
    left = tmp_path / "run" / "report" / f"{PREFIX}1-ab-curves.png"
    left.parent.mkdir(parents=True)
    left.touch()
    with RunDirectory(tmp_path / "run").owned("resume"):
        assert not left.exists()  # a killed process left it
        with pytest.raises(
            UserError, match=rf"^run: got .*run, in use by process {os.getpid()} on"
        ):
            own(tmp_path / "run", "run")
    own(tmp_path / "run")


def test_a_path_that_is_not_utf_8_is_refused(tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(
        UserError, match=r"^hydra\.run\.dir: got '.*caf\\udce9/run', expected a path in"
    ):
        own(Path(place) / "run")
    assert not Path(place).exists()


def test_a_command_in_another_encoding(tmp_path):
    run = RunDirectory(tmp_path)
    run.command.write_bytes(b"python -m cait_finetune dataset.name=caf\xe9\n")
    assert run.read_command() == "python -m cait_finetune dataset.name=caf\ufffd"


def test_creates_the_directories(tmp_path):
    run = RunDirectory(tmp_path / "some" / "run")
    run.create()
    assert run.checkpoints.is_dir()
    assert run.saved_model.parent.is_dir()
    assert not run.saved_model.exists()
    assert not run.config.exists()


def test_everything_stands_below_the_root(tmp_path):
    run = RunDirectory(tmp_path)
    paths = [value for name, value in vars(run).items() if name != "root"]
    assert len(set(paths)) == len(paths) > 1
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_refuses_a_directory_with_a_run_and_leaves_it_as_it_is(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.safetensors").write_bytes(b"\x00weights")
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    before = contents(tmp_path)
    with pytest.raises(UserError) as caught:
        RunDirectory(tmp_path).create()
    assert str(caught.value).startswith(f"hydra.run.dir: got {tmp_path}, expected a directory")
    assert contents(tmp_path) == before


def test_an_empty_directory_is_welcome(tmp_path):
    RunDirectory(tmp_path).create()
    assert (tmp_path / "checkpoints").is_dir()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(UserError, match=r"hydra\.run\.dir.*can be written"):
        RunDirectory(tmp_path / "file" / "run").create()
    with pytest.raises(UserError, match=r"resume.*can be written"):
        own(tmp_path / "file" / "run", "resume")


def test_the_result_is_json(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_result({"test_top1": 0.5, "corrupt_images": []})
    assert json.loads(run.result.read_text()) == {"test_top1": 0.5, "corrupt_images": []}


def test_a_run_that_ended_before_it_had_saved_anything_does_not_lock_its_directory(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.config.write_text("seed: 3\n")
    run.metrics.write_text("{}\n")
    run.create()
    assert not run.metrics.exists()
    (run.checkpoints / "state_00000001.safetensors").touch()
    with pytest.raises(UserError, match=r"hydra\.run\.dir"):
        run.create()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\xff"])
def test_a_result_that_cannot_be_read_is_a_message_and_no_end(tmp_path, text):
    run = RunDirectory(tmp_path)
    assert (run.read_result(), run.scored, run.finished) == ({}, False, False)
    run.write_result({"metric": "top1"})
    assert (run.scored, run.finished) == (True, False)
    assert run.mark_finished().keys() == {"metric", "finished"}
    assert run.finished
    run.unmark_finished()
    assert (run.read_result(), run.finished) == ({"metric": "top1"}, False)
    run.result.write_text(text, encoding="latin-1")
    assert (run.scored, run.finished) == (False, False)
    with pytest.raises(UserError, match=r"result\.json: got .*, expected JSON(.|\n)*remove it"):
        run.read_result()


@pytest.mark.parametrize("name", ["lr[1]", "what?", "a*b"])
def test_a_path_that_tensorflow_takes_for_a_pattern(tmp_path, name):
    with pytest.raises(UserError, match=r"hydra\.run\.dir: got .*, expected a path without \S"):
        RunDirectory(tmp_path / name / "run").create()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["s3://bucket/run", Path("gs://bucket/run")])
def test_a_bucket_is_no_place_for_a_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^hydra\.run\.dir: got .*, expected a path on a disk\n"):
        own(Path(path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("{shares: [0.8, 0.1, 0.1], seed: 0}", {"shares": None, "seed": None}),
        ("{shares: [0.6, 0.2, 0.2], seed: 3}", {"shares": [0.6, 0.2, 0.2], "seed": 3}),
        ("{}", {}),
        ("null", None),
    ],
)
def test_defaults_that_earlier_versions_wrote_are_no_wish(written, read, tmp_path):
    run = RunDirectory(tmp_path)
    run.config.write_text(f"seed: 0\ndataset: {{splits: {written}}}\n")
    assert run.read_config().dataset.splits == read
    assert run.read_config().seed == 0


def replaced(run: RunDirectory) -> None:
    with run.owned("x"):
        write_text(run.config, "mine")
        shutil.rmtree(run.root)
        run.root.mkdir()
        (run.root / ".lock").touch()  # another process's lock
        run.config.write_text("theirs")
        run.write_result({"finished": 1})


def test_a_directory_that_was_replaced_is_left_alone(tmp_path):
    """Example: while this process is suspended, `rm -rf` and another run replace the directory."""
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match=r"run, moved, removed or replaced while the run wrote"):
        replaced(run)
    assert contents(run.root) == {".lock": b"", "config.yaml": b"theirs"}


def moved(run: RunDirectory) -> None:
    with run.owned("x"):
        run.root.rename(run.root.with_name("other"))
        (run.root / "steps.csv").write_text("by any other way to write")


def test_a_directory_that_was_moved_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"If you moved the directory, resume the run at its new place"
    ):
        moved(RunDirectory(tmp_path / "run"))


def test_files_elsewhere_are_not_the_directorys(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with run.owned("x"):
        (run.root / ".lock").unlink()
        write_text(tmp_path / "elsewhere", "")
        with pytest.raises(UserError, match="moved, removed or replaced"):
            write_text(run.config, "")


@pytest.mark.parametrize("result", [{"test_top1": "abc"}, {"steps": [1]}, {"wall_seconds": {}}])
def test_a_result_with_something_else_for_a_number(result, tmp_path):
    run = RunDirectory(tmp_path)
    run.write_result(result)
    (key,) = result
    with pytest.raises(UserError, match=f"^result.json: got .* with {key}: .*expected a number"):
        run.read_result()


@pytest.mark.parametrize("intervals", [[], {"test_top1": 0.5}, {"test_top1": [0.5]}])
def test_a_result_with_something_else_for_intervals(intervals, tmp_path):
    run = RunDirectory(tmp_path)
    run.write_result({"intervals": intervals})
    with pytest.raises(UserError, match=r"^result\.json: got .* with intervals: "):
        run.read_result()


def test_json_of_another_shape_is_named(tmp_path):
    (tmp_path / "exports.json").write_text('{"saved_model": 5}')
    with pytest.raises(UserError, match="one of its values is no dict"):
        read_json(tmp_path / "exports.json", dict, dict)


def test_an_unfinished_run_is_refused_with_the_way_to_go_on(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    write_text(run.config, "seed: 0\n")
    write_text(run.best_checkpoint, "")
    with pytest.raises(UserError, match=r"Continue it with resume=.*run, or choose another"):
        run.create()


def test_a_users_files_are_not_replaced(tmp_path):
    for name in ("config.yaml", "report.html"):
        root = tmp_path / name
        root.mkdir()
        (root / name).write_text("mine: 1")
        with pytest.raises(
            UserError, match=rf"^hydra\.run\.dir: got .*, which holds {name}, expected"
        ):
            RunDirectory(root).create()
        assert [path.name for path in root.iterdir()] == [name]
