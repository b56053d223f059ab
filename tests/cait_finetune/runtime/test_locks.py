"""A lock has one holder, names the holder, and is released when the holder's process ends."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from cait_finetune.runtime.locks import InUse, beside, lock, wait_for_lock

HOLD = """
import sys
from pathlib import Path
from cait_finetune.runtime.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Start another process that holds the lock until the process is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def hold(path) -> None:
    with lock(path):
        pass


def test_the_error_for_a_second_holder_names_the_first(tmp_path, holder):
    with pytest.raises(InUse, match=rf"process {holder.pid} on \S+ since \d{{4}}-"):
        hold(tmp_path / "lock")


def test_a_process_that_is_killed_releases_it(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    hold(tmp_path / "lock")
    assert f'"process": {os.getpid()},' in (tmp_path / "lock").read_text()


def test_within_a_process_it_is_held_once(tmp_path):
    with lock(tmp_path / "lock"), pytest.raises(InUse, match=str(os.getpid())):
        hold(tmp_path / "lock")
    hold(tmp_path / "lock")


def test_one_can_wait_for_it(tmp_path, holder):
    said = []

    def waiting(who: str) -> None:
        said.append(who)
        threading.Timer(0.2, holder.stdin.close).start()

    with wait_for_lock(tmp_path / "lock", waiting):
        assert holder.wait() == 0
    assert len(said) == 1


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), lock(tmp_path / "lock"):
        pass
    assert f"{tmp_path}: its file system has no locks" in caplog.text


def test_the_lock_of_a_file_is_hidden_beside_it(tmp_path):
    assert beside(tmp_path / "a.csv") == tmp_path / ".a.csv.lock"
