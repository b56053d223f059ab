import ctypes
import subprocess
import sys

import pytest

from cait_finetune.runtime import malloc as heap

# Pieces that stay lie between the freed pieces, as compiled code lies between a freed graph's pieces.
_FRAGMENTED = """
import psutil
from cait_finetune.runtime.malloc import malloc_trim

held = lambda: psutil.Process().memory_info().rss
pieces = [bytearray(4000) for _ in range(50_000)]  # 200 MB
kept = pieces[::100]
del pieces
before = held()
malloc_trim()
print(before - held())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_malloc_trim_returns_freed_memory_to_the_system():
    done = subprocess.run([sys.executable, "-c", _FRAGMENTED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100e6


@pytest.mark.parametrize("fault", [OSError, TypeError, None])
def test_malloc_trim_does_nothing_without_glibc(monkeypatch, fault):
    asked = []

    def load(name):
        asked.append(name)
        if fault:
            raise fault
        return object()  # a C library without malloc_trim

    monkeypatch.setattr(heap.ctypes, "CDLL", load)
    assert heap.malloc_trim() is None
    assert asked == [None]
