"""Each command claims its own output folder."""

from __future__ import annotations

import concurrent.futures

import pytest
from omegaconf import OmegaConf

from cait_finetune.cli.output_place import OutputPlace, claim, release
from cait_finetune.errors import UserError


def test_many_commands_in_one_second_get_a_folder_each(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(claim, "hydra.run.dir", tmp_path / "a" / "10-00-00") for _ in range(20)]
        claimed = {job.result().name for job in jobs}
    assert claimed == {"10-00-00", *(f"10-00-00-{number}" for number in range(2, 21))}


def test_a_folder_that_cannot_be_made_is_a_message(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"hydra\.run\.dir: got .*, expected a directory that can be"
    ):
        claim("hydra.run.dir", tmp_path / "file" / "run")


def test_a_folder_in_which_nothing_was_written_is_removed_with_empty_ones_above(tmp_path):
    claimed = claim("hydra.run.dir", tmp_path / "outputs/digits/nano/10-00-00")
    (claimed / "checkpoints").mkdir()
    (claimed / ".lock").touch()
    release(claimed)
    assert list(tmp_path.iterdir()) == []


def test_release_keeps_folders_that_are_written_or_named_by_the_user(tmp_path):
    written = claim("hydra.run.dir", tmp_path / "outputs/digits/nano/1")
    other = claim("hydra.run.dir", tmp_path / "outputs/digits/nano/2")
    (written / "config.yaml").touch()
    named = tmp_path / "named"
    named.mkdir()
    for directory in (written, other, named):
        release(directory)
    assert [one.is_dir() for one in (written, other, named)] == [True, False, True]


def test_the_runs_of_a_sweep_do_not_go_into_a_run(tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "identity.json").touch()
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    with pytest.raises(
        SystemExit, match=r"hydra\.sweep\.dir: got .*, expected a directory that is not"
    ):
        OutputPlace().on_multirun_start(config)


def test_a_second_sweep_keeps_the_configuration_of_the_first(tmp_path):
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    for text in ("first", "second"):
        (tmp_path / "multirun.yaml").write_text(text)
        OutputPlace().on_multirun_start(config)
    kept = {path.name: path.read_text() for path in tmp_path.glob("multirun-*.yaml")}
    assert kept == {"multirun-1.yaml": "first", "multirun-2.yaml": "second"}
