import io

import pytest
from rich.console import Console

from cait_finetune.loggers import build
from cait_finetune.loggers.build import build_loggers
from cait_finetune.runs.directory import RunDirectory
from tests.cait_finetune.stand_ins import checked


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("csv", ["csv"]),
        ("tensorboard", ["tensorboard"]),
        ("wandb", ["wandb"]),
        ("[wandb,csv]", ["csv", "wandb"]),
        ("[wandb,tensorboard,csv]", ["csv", "tensorboard", "wandb"]),
        ("[]", []),
    ],
)
def test_build_loggers_builds_the_chosen_loggers(choice, names, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(build, "Loggers", built.extend)
    config = checked(f"logger={choice}").logger
    build_loggers(config, RunDirectory(tmp_path), Console(file=io.StringIO()))
    assert [one.name for one in built] == names
