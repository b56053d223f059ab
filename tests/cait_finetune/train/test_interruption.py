import contextlib
import gc
import os
import signal
import sys
import time

import pytest
import tensorflow as tf

from cait_finetune.errors import Interrupted, InterruptedByUser
from cait_finetune.train.interruption import Interruption


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def signalled(number: int, directory=None) -> None:
    with Interruption() as interruption:
        interruption.directory = directory
        send(number)
        time.sleep(60)


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (signal.SIGTERM, Interrupted, 75),
        (signal.SIGHUP, Interrupted, 75),
        (signal.SIGINT, InterruptedByUser, 130),
    ],
)
def test_a_signal_raises_its_interruption_with_its_exit_code(number, kind, code):
    before = signal.getsignal(number)
    with pytest.raises(kind, match=f"{number.name}: .* resume=some/run") as stopped:
        signalled(number, "some/run")
    assert stopped.value.code == code
    assert signal.getsignal(number) is before


def test_before_the_run_has_begun_there_is_nothing_to_resume():
    with pytest.raises(Interrupted, match="training had not begun; give the same command again"):
        signalled(signal.SIGTERM)


def test_an_interruption_is_not_an_exception_and_can_be_rebuilt():
    error = InterruptedByUser("SIGINT: …")
    assert not isinstance(error, Exception)
    again = type(error)(str(error))
    assert (str(again), again.code) == (str(error), error.code)


def test_a_deferred_signal_raises_at_the_next_check():
    with Interruption() as interruption:
        with interruption.deferred():
            send(signal.SIGTERM)
        assert interruption.signal is signal.SIGTERM
        with pytest.raises(Interrupted):
            interruption.check()


def dropped_in_a_collection() -> None:
    """Send a signal inside a garbage collector callback: Python drops the raised exception."""
    gc.callbacks.append(lambda phase, info: phase == "start" and send(signal.SIGTERM))
    try:
        gc.collect()
    finally:
        gc.callbacks.pop()


def test_an_error_that_python_dropped_is_raised_again():
    def life():
        with Interruption():
            dropped_in_a_collection()
            time.sleep(60)

    with pytest.raises(Interrupted):
        life()


def test_check_raises_an_error_that_a_library_caught():
    with Interruption() as interruption:
        with contextlib.suppress(Interrupted):
            send(signal.SIGTERM)
        with pytest.raises(Interrupted):
            interruption.check()


def test_a_second_ctrl_c_is_obeyed_at_once_but_not_the_same_one_twice(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Interruption() as interruption, interruption.deferred():
        send(signal.SIGINT)
        send(signal.SIGINT)  # the terminal and a parent process both send it
        now[0] = 1.0
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            send(signal.SIGHUP)
        assert interruption.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_finished_run_has_nothing_to_resume():
    with Interruption() as interruption:
        interruption.finished = True
        send(signal.SIGTERM)
    assert interruption.signal is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_repeated_signals_leave_the_first_ones_error(number):
    """Another signal arrives while the error of the first signal unwinds the stack."""

    def unwind():
        with Interruption() as interruption:
            interruption.directory = "some/run"
            try:
                with interruption.deferred():
                    send(signal.SIGTERM)
                interruption.check()
            finally:
                send(number)
                cleaned.append(number)

    cleaned = []
    with pytest.raises(Interrupted, match="SIGTERM: the state is saved"):
        unwind()
    assert cleaned == [number]


def interrupted_in_c(monkeypatch, seen: list) -> None:
    """Interrupt Python code that C++ calls: TensorFlow then raises a RuntimeError instead."""
    construct = tf.errors.InvalidArgumentError.__init__

    def interrupted(*values):
        send(signal.SIGTERM)
        construct(*values)

    with tf.Graph().as_default():
        op = tf.constant(1).op
    monkeypatch.setattr(tf.errors.InvalidArgumentError, "__init__", interrupted)
    with Interruption("some/run") as interruption:
        try:
            with interruption.kept():
                op.get_attr("none")
        except BaseException as error:
            seen.append(error)
        op.get_attr("none")


def test_an_interruption_that_tensorflow_converts_is_restored(monkeypatch):
    seen = []
    with pytest.raises(Interrupted, match=r"SIGTERM: .* resume=some/run"):
        interrupted_in_c(monkeypatch, seen)
    assert isinstance(seen[0], Interrupted)  # the loggers must see this type
    if sys.version_info < (3, 13):  # from 3.13 on the error passes C++ as it is
        assert isinstance(seen[0].__cause__, RuntimeError)


def an_error_beside_a_signal_that_waits() -> None:
    with Interruption() as interruption:
        with interruption.deferred():
            send(signal.SIGTERM)
        raise ZeroDivisionError


def test_an_error_that_no_signal_made_stays_itself():
    with pytest.raises(ZeroDivisionError):
        an_error_beside_a_signal_that_waits()


def test_a_repeated_signal_raises_an_error_that_a_library_caught(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Interruption():
        with contextlib.suppress(Interrupted):
            send(signal.SIGTERM)
        now[0] = 60.0
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
