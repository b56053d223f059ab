"""Each command claims its own output folder."""

from __future__ import annotations

import concurrent.futures

import pytest

from cait_finetune.cli.output_place import claim
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
