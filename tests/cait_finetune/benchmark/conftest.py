import pytest

from cait_finetune.benchmark.worker import Worker


@pytest.fixture
def worker():
    """Make workers, and stop them after the test."""
    started = []

    def start(module, task):
        started.append(Worker(module, task))
        return started[-1]

    yield start
    for one in started:
        one.stop()
