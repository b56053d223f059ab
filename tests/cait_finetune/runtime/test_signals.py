"""A process ends cleanly although it gets signals again and again until its last moment."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cait_finetune.runtime import signals
from cait_finetune.runtime.signals import preemptible

ROOT = Path(__file__).resolve().parents[3]
ADVICE = "give the same command again"

# A child sends signals until the program has ended. The program lives a little past its last line.
_COMMAND = """
import atexit, signal, subprocess, sys, time
from cait_finetune.cli.loading import begin_loading, end_loading
begin_loading()
from cait_finetune.cli.entry import command
from cait_finetune.errors import Interrupted
from cait_finetune.train.interruption import Interruption

def pester(name):
    words = ["sh", "-c", f"while kill -{name} $PPID 2>/dev/null; do sleep .02; done"]
    subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(time.sleep, .3)

with command("life"):
    BODY
"""
_TRAINING = """
    try:
        with Interruption() as interruption:
            interruption.directory = "DIR"
            try:
                with interruption.deferred():
                    pester(NAME)
                    time.sleep(.5)
                interruption.check()
            finally:
                time.sleep(.5)
    except Interrupted as error:
        time.sleep(.5)
        print(error, file=sys.stderr)
        sys.exit(error.code)
"""


def end(body: str, name: str) -> tuple[int, str]:
    """Run the command with this body; return its exit status and the text on standard error."""
    code = _COMMAND.replace("    BODY", body.strip("\n")).replace("NAME", repr(name))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_repeated_in_training_the_state_is_saved_and_the_status_stays(name):
    said = f"SIG{name}: the state is saved; continue with resume=DIR\n"
    assert end(_TRAINING, name) == (75, said)


@pytest.mark.slow
def test_repeated_ctrl_c_in_training():
    status, said = end(_TRAINING, "INT")
    assert status == 130, said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
def test_after_the_last_line_the_status_is_that_of_the_work(name):
    assert end("    pass\npester(NAME)", name) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("TERM", 75, f"life: SIGTERM: what was finished is kept; {ADVICE}\n"),
        ("INT", 130, "life: interrupted; what was finished is kept\n"),
    ],
)
def test_repeated_in_a_command_that_does_not_train(name, status, said):
    body = """
    end_loading()
    try:
        pester(NAME)
        time.sleep(30)
    finally:
        time.sleep(.3)
"""
    assert end(body, name) == (status, said)


def asked_to_end(number: int) -> None:
    with preemptible("life", ADVICE), preemptible("inner", "nothing"):
        os.kill(os.getpid(), number)
        time.sleep(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_outer_block_prints_the_advice(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        asked_to_end(number)
    assert stopped.value.code == 75
    assert capsys.readouterr().err == f"life: {number.name}: {ADVICE}\n"
    assert signal.getsignal(number) is before  # restored: the command does not own this process


def in_a_destructor(number: int) -> None:
    """Send a signal to this process in a destructor. Python drops the exception that it raises."""

    class Deleted:
        def __del__(self):
            os.kill(os.getpid(), number)
            time.sleep(0.01)

    Deleted()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_exit_that_python_dropped_is_raised_again(number, capsys):
    def life():
        with preemptible("life", ADVICE):
            in_a_destructor(number)
            time.sleep(60)

    with pytest.raises(SystemExit) as stopped:
        life()
    assert stopped.value.code == 75
    assert capsys.readouterr().err == f"life: {number.name}: {ADVICE}\n"


def test_a_ctrl_c_that_python_dropped_is_raised_again(monkeypatch):
    monkeypatch.setattr(signals.Ending, "decided", False)

    def life():
        with signals.handlers([signal.SIGINT], signals.raise_interrupt):
            in_a_destructor(signal.SIGINT)
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        life()


def test_after_the_block_no_signal_is_sent_again():
    code = """
import os, signal, time
from cait_finetune.runtime.signals import preemptible

class Deleted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

try:
    with preemptible("life", "advice"):
        Deleted()
except SystemExit:
    time.sleep(.1)
    print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("alive\n", "life: SIGTERM: advice\n")


def test_another_error_in_a_destructor_is_reported(capsys):
    class Faulty:
        def __del__(self):
            raise ValueError("a fault")

    before, sys.unraisablehook = sys.unraisablehook, sys.__unraisablehook__
    try:
        with preemptible("life", ADVICE):
            Faulty()
    finally:
        sys.unraisablehook = before
    assert "ValueError: a fault" in capsys.readouterr().err


def test_a_later_signal_raises_an_exit_that_a_library_caught(monkeypatch, capsys):
    monkeypatch.setattr(signals, "LOST", 0.05)

    def life():
        with preemptible("life", ADVICE):
            with contextlib.suppress(SystemExit):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            os.kill(os.getpid(), signal.SIGTERM)  # the first exit may still propagate
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    with pytest.raises(SystemExit) as stopped:
        life()
    assert stopped.value.code == 75
    assert capsys.readouterr().err.count("life: ") == 1


def test_an_exit_that_a_library_converts_is_restored():
    def life():
        with preemptible("life", ADVICE):
            try:
                asked_to_end(signal.SIGTERM)
            except SystemExit:  # as TensorFlow does when C++ calls Python
                raise RuntimeError("MISMATCH of active exception types") from None

    with pytest.raises(SystemExit) as stopped:
        life()
    assert stopped.value.code == 75


def test_ctrl_c_ends_what_hangs_at_its_end():
    body = """
    from cait_finetune.runtime import signals
    end_loading()
    signals._PATIENCE = .2
    try:
        pester(NAME)
        time.sleep(30)
    finally:
        time.sleep(30)
"""
    assert end(body, "INT") == (130, "")
