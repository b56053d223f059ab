"""Words of a command line, as Hydra gets them."""

import os
import sys

import pytest

from cait_finetune.cli.typed_words import arguments_as_typed


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
