import os
import signal
import time

import pytest

from cait_finetune.errors import Interrupted
from cait_finetune.train.interruption import (
    INTERRUPTED,
    PREEMPTED,
    Interruption,
    preemptible,
)


def signalled(*numbers, saved=None, seconds=0.0):
    """What an `Interruption` knows after signals, and some work."""
    with Interruption(saved) as interruption:
        for number in numbers:
            os.kill(os.getpid(), number)
        time.sleep(seconds)
    return interruption


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, PREEMPTED), (signal.SIGINT, INTERRUPTED)]
)
def test_a_run_whose_state_is_saved_ends_at_once(number, code):
    before = signal.getsignal(number)
    started = time.monotonic()
    with pytest.raises(Interrupted, match=f"{number.name}: .* resume=some/run") as stopped:
        signalled(number, saved="some/run", seconds=60)
    assert time.monotonic() - started < 30
    assert stopped.value.code == code
    assert signal.getsignal(number) is before


def test_one_whose_state_is_not_only_takes_note():
    interruption = signalled(signal.SIGTERM)
    assert interruption.signal is signal.SIGTERM
    assert interruption.error("some/run").code == PREEMPTED


def test_a_second_ctrl_c_is_obeyed_at_once():
    with pytest.raises(KeyboardInterrupt):
        signalled(signal.SIGINT, signal.SIGINT)


def asked_to_end():
    with preemptible():
        assert signalled(signal.SIGTERM).signal is signal.SIGTERM  # who has taken it over has it
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)


def test_before_training_there_is_nothing_to_save(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        asked_to_end()
    assert stopped.value.code == PREEMPTED
    assert capsys.readouterr().err.count("SIGTERM: training had not begun") == 1
    assert signal.getsignal(signal.SIGTERM) is before
