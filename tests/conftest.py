"""Quiet libraries, and no network even where there is one; the longest tests first."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["WANDB_MODE"] = "offline"

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Files of few tests that run whole commands would come last, when other cores have no work."""
    items.sort(key=lambda item: (item.path.name != "test_faults.py", item.path.parent != _HERE))
