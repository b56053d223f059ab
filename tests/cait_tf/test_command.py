"""How the commands of the library report errors."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

import pytest

from cait_tf.atomic import atomic_open
from cait_tf.command import run_command
from cait_tf.errors import CaiTError


def stopped(monkeypatch, error, *arguments):
    def work(_):
        raise error

    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises((SystemExit, type(error))) as caught:
        run_command(argparse.ArgumentParser(), work)
    return caught.value


def test_what_a_user_can_mend_is_one_message(monkeypatch):
    assert stopped(monkeypatch, CaiTError("key: got 1, expected 2")).code == (
        "cait_tf: key: got 1, expected 2"
    )


def test_a_path_that_cannot_be_written(monkeypatch):
    error = PermissionError(13, "Permission denied", "/some/where")
    assert stopped(monkeypatch, error).code == (
        "cait_tf: /some/where: got Permission denied, expected a path that this user may read or write\n"
        "  Change its permissions, or choose another place."
    )


def test_debug_shows_the_traceback(monkeypatch):
    error = CaiTError("wrong")
    assert stopped(monkeypatch, error, "--debug") is error


def test_a_defect_is_not_hidden(monkeypatch):
    error = ZeroDivisionError()
    assert stopped(monkeypatch, error) is error


def test_an_interruption(monkeypatch, capsys):
    assert stopped(monkeypatch, KeyboardInterrupt()).code == 130
    assert capsys.readouterr().err == "cait_tf: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_end_it_leaves_no_half_of_a_file(number, monkeypatch, capsys, tmp_path):
    def work(_):
        with atomic_open(tmp_path / "weights") as file:
            file.write("half")
            os.kill(os.getpid(), number)
            time.sleep(60)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(one, signal.SIG_DFL) for one in numbers]
    monkeypatch.setattr(sys, "argv", ["command"])
    try:
        with pytest.raises(SystemExit) as caught:
            run_command(argparse.ArgumentParser(), work)
    finally:
        for one, handler in zip(numbers, before, strict=True):
            signal.signal(one, handler)
    assert caught.value.code == 75
    assert capsys.readouterr().err == f"cait_tf: {number.name}: give the same command again\n"
    assert list(tmp_path.iterdir()) == []
