"""Call a function in a forked process: its return value, errors, signals and sudden end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

PROGRAM = """
import os, signal, sys, time
from cait_finetune.errors import Interrupted, InterruptedByUser, UserError
from cait_finetune.runtime.own_process import can_fork, in_own_process
from cait_finetune.train.interruption import Interruption

assert can_fork()
try:
    print(in_own_process(work), os.getpid())
except (UserError, Interrupted) as error:
    print(f"{type(error).__name__} {getattr(error, 'code', '')}: {error}")
"""


def told(work: str, status: int = 0) -> tuple[str, str]:
    """Run the program with `work` as the function's body; return its stdout and stderr.

    Args:
        work: source code.
        status: 0 if the program must exit with 0; otherwise it must fail.
    """
    body = "def work():\n" + textwrap.indent(textwrap.dedent(work), "    ")
    lines = PROGRAM.replace("assert can_fork()", body + "\nassert can_fork()")
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode != 0) == bool(status), done.stderr
    return done.stdout.strip(), done.stderr


def test_the_return_value_comes_from_another_process():
    own, other = told("print('hello')\nreturn os.getpid()")[0].split("\n")[-1].split()
    assert own != other


def test_an_error_of_the_user_comes_back():
    assert told("raise UserError('optimizer.base_lr: got 3')")[0] == (
        "UserError : optimizer.base_lr: got 3"
    )


@pytest.mark.parametrize(("kind", "code"), [("Interrupted", 75), ("InterruptedByUser", 130)])
def test_an_interruption_comes_back(kind, code):
    assert told(f"raise {kind}('SIGTERM: saved')")[0] == f"{kind} {code}: SIGTERM: saved"


def test_a_signal_to_the_parent_reaches_it():
    out, _ = told("""
        with Interruption() as interruption:
            interruption.directory = "DIR"
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(50)
    """)
    assert out == "Interrupted 75: SIGTERM: the state is saved; continue with resume=DIR"


def test_a_signal_before_the_handlers_of_the_run_ends_every_run():
    out, err = told("""
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(.5)
        sys.exit(75)
    """)
    assert out == "Interrupted 75: SIGTERM: this run and the following runs were not executed"
    assert "Traceback" not in err


def test_a_signal_at_the_end_of_the_run_is_not_lost():
    out, _ = told("""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(.5)
    """)
    assert out.startswith("Interrupted 75: SIGTERM: this run is finished")


def test_a_process_that_dies_is_a_message():
    assert told("os.kill(os.getpid(), signal.SIGSEGV)")[0] == (
        "UserError : the run's process: got SIGSEGV, expected the end of the run"
    )
    assert "SIGKILL, as when memory runs out" in told("os.kill(os.getpid(), signal.SIGKILL)")[0]


def test_exit_statuses_are_known_although_the_starter_ignores_them():
    ignored = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nassert can_fork()"
    program = PROGRAM.replace("assert can_fork()", ignored).replace("work)", "lambda: 7, str)")
    program += "\nassert signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7 ")


def test_a_second_ctrl_c_ends_the_parent_too():
    out, err = told("raise KeyboardInterrupt", status=1)
    assert "UserError" not in out
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_it_does_not_outlive_a_parent_that_is_killed():
    began = time.monotonic()
    _, err = told(
        """
        with Interruption():
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(50)
        """,
        status=1,
    )
    assert time.monotonic() - began < 40  # its streams are closed, so the child has ended
    assert "Traceback" not in err


def test_a_defect_shows_its_traceback():
    out, err = told("raise ValueError('no number')")
    assert out.startswith("UserError : the run's process: got exit status 1 with the traceback")
    assert "ValueError: no number" in err
