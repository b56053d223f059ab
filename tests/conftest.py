"""Silence libraries, keep W&B offline, use a temporary cache, start the longest tests first."""

import os
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"

# Tests must not use the user's caches, except matplotlib's font list.
os.environ.setdefault("MPLCONFIGDIR", str(Path("~/.cache/matplotlib").expanduser()))
_CACHE = tempfile.TemporaryDirectory(prefix="cait-tests-", ignore_cleanup_errors=True)
os.environ["XDG_CACHE_HOME"] = _CACHE.name

_HERE = Path(__file__).parent

# Under nohup SIGHUP is ignored, here and in every process that a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser):
    parser.addoption(
        "--thorough",
        action="store_true",
        help="kill 20 times instead of 5; fill the disk at each write",
    )


def pytest_collection_modifyitems(items):
    """Skip tests that need a missing extra, and start test files with whole commands first.

    These slow files would otherwise run last, while other cores have no work. `importorskip` would
    import the package, and torch crashes if it is imported after TensorFlow.
    """
    for item in items:
        for package in (mark.args[0] for mark in item.iter_markers("needs")):
            if not find_spec(package):
                reason = f"{package}, an extra, is not installed"
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: (item.path.name != "test_faults.py", item.path.parent != _HERE))


@pytest.fixture
def no_home(monkeypatch):
    """A user without ``$HOME`` and without a system record, whom no warning has reached yet."""
    import pwd

    from cait_tf import places

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(places._StandIn, "place", None)
    monkeypatch.setattr(places._StandIn, "missing", None)
    monkeypatch.setattr(places, "_warned", [])
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
