import gc
import subprocess
import sys

import pytest

from cait_finetune.runtime.gc import gc_disabled

# `gc.freeze` lasts as long as the process, so the test needs a separate process.
_LOADING = """
import gc
from cait_finetune.runtime.gc import loading

class Held:
    def __init__(self):
        self.other = self

kept = []
looked_at = lambda: sum(isinstance(one, Held) for one in gc.get_objects())
for count in (1, 2):
    with loading():
        print(gc.isenabled())
        kept += [Held()]
    print(gc.isenabled(), looked_at())
"""


@pytest.fixture
def looks():
    """Record every garbage collection, and trigger one at almost every new object."""
    seen = []
    thresholds = gc.get_threshold()

    def note(phase, _):
        seen.append(phase)

    gc.callbacks.append(note)
    gc.set_threshold(1)
    yield seen
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(note)


def test_gc_disabled_runs_no_collection(looks):
    kept = [[] for _ in range(100)]
    assert looks  # the fixture works
    with gc_disabled():
        looks.clear()
        kept += [[] for _ in range(1000)]
        assert not looks
    kept += [[] for _ in range(100)]
    assert looks


def _fail(enabled):
    assert not enabled
    raise ZeroDivisionError


@pytest.mark.parametrize("enabled", [True, False])
def test_gc_disabled_restores_the_collector_after_an_error(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError), gc_disabled():
            _fail(gc.isenabled())
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_objects_from_loading_are_frozen():
    done = subprocess.run([sys.executable, "-c", _LOADING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["False", "True 0", "False", "True 1"]
