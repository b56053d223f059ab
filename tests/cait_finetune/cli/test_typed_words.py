"""Words of a command line, as Hydra gets them."""

import os
import sys

import pytest

from cait_finetune.cli.typed_words import arguments_as_typed
from cait_finetune.errors import UserError


def test_a_folder_of_recipes_needs_the_name_of_one(tmp_path, monkeypatch):
    (tmp_path / "birds.yaml").touch()
    monkeypatch.setattr("sys.argv", ["train", "-cd", str(tmp_path), "seed=1"])
    message = r"-cd: got .* without -cn, expected -cn with one of birds\n  Write -cd .* -cn birds$"
    with pytest.raises(UserError, match=message), arguments_as_typed():
        pass
    (tmp_path / "dataset").mkdir()
    monkeypatch.setattr("sys.argv", ["train", "-cd", str(tmp_path), "dataset=own"])
    with arguments_as_typed():
        pass


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("cait-finetune evaluate mod", "cait-finetune mod"),
        ("cait-finetune optimizer.ba", "cait-finetune optimizer.ba"),
        ("cait-finetune opt", "cait-finetune opt"),
        ("cait-finetune seed=1 opt", "cait-finetune seed=1 opt"),
    ],
)
def test_completion_reads_keys_without_the_command(line, completed, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cait-finetune", "-sc", "query=bash"])
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    with arguments_as_typed("evaluate"):
        assert sys.argv[1:] == ["-sc", "query=bash"]
        assert os.environ["COMP_LINE"] == completed
        assert os.environ["COMP_POINT"] == str(len(completed))
