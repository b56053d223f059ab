"""The help: commands, groups and keys."""

from __future__ import annotations

import sys

import pytest

import cait_finetune
from cait_finetune import commands


@pytest.fixture
def helped(monkeypatch, capsys):
    """Return a function that runs the command: exit message, and output."""

    def run(*words):
        monkeypatch.setenv("COLUMNS", "80")
        monkeypatch.setattr(sys, "argv", ["cait_finetune", *words])
        try:
            commands.run_command()
        except SystemExit as ended:
            return str(ended.code), capsys.readouterr().out
        return "", capsys.readouterr().out

    return run


def test_the_overview_lists_every_command_and_group(helped):
    _, out = helped("--help")
    for name, summary in commands.COMMANDS.items():
        assert f"\n{name} " in out
        assert summary in out
    assert "\noptimizer " in out
    assert "schedule_free" in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_for_a_group_lists_its_options_and_keys(helped):
    _, out = helped("--help", "optimizer")
    assert "optimizer=sgd " in out
    assert (
        "  optimizer.base_lr=0.0002   (number, 0 to 10)\n      Peak learning rate of the head."
        in out
    )
    assert "schedule." not in out


def test_help_for_keys_shows_those_keys_only(helped):
    _, out = helped("-h", "optimizer.momentum", "dataset.columns")
    assert "Read with optimizer.name=sgd." in out
    assert "dataset.columns.separator=|" in out
    assert "base_lr" not in out


def test_help_keys_lists_every_key(helped):
    _, out = helped("--help", "keys")
    assert "  seed=0 " in out
    assert "  logger.wandb.finish_timeout=600 " in out
    assert helped("train", "--help")[1].endswith(out)


def test_an_unknown_topic(helped):
    message, _ = helped("--help", "lr")
    assert message.startswith("cait_finetune: lr: got an unknown key")
    assert "did you mean optimizer.base_lr?" in message


def test_help_for_a_command_lists_its_keys(helped):
    _, out = helped("lr_find", "--help")
    assert "a learning-rate range test" in out
    assert "  lr_find.steps=200 " in out
    assert "train.epochs" not in out


def test_help_before_a_command(helped):
    assert helped("help", "predict") == helped("predict", "--help")
    assert helped("help")[1] == helped("--help")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--help", "predict"],
            "--help: got predict, expected a group or a key\n  Write cait-finetune predict --help",
        ),
        (["fit"], "did you mean train?"),
        (["login"], "Write wandb login"),
        (["photos"], "did you mean dataset=folder dataset.data_dir=photos?"),
    ],
)
def test_a_word_that_is_no_command(helped, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert message in helped(*words)[0]


def test_the_version_is_ours(helped):
    assert helped("--version")[1] == f"cait-finetune {cait_finetune.__version__}\n"
