import pytest

from cait_finetune.benchmark.contestant import Contestant


@pytest.fixture
def contestant():
    """Makes one, and ends it after the test."""
    started = []

    def start(module, task):
        started.append(Contestant(module, task))
        return started[-1]

    yield start
    for one in started:
        one.end()
