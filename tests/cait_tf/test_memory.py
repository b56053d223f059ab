"""Peak memory of a process."""

import psutil
import pytest

from cait_tf.memory import peak_memory, reset_peak_memory


@pytest.mark.slow
def test_the_peak_remains_until_it_is_reset():
    process = psutil.Process()
    held = bytearray(b"1" * 200_000_000)
    assert peak_memory() >= process.memory_info().rss > 200_000_000
    del held
    assert peak_memory() - process.memory_info().rss > 150_000_000
    reset_peak_memory()
    assert peak_memory() - process.memory_info().rss < 50_000_000


def test_without_proc_the_system_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr("cait_tf.memory._STATUS", tmp_path / "none")
    assert 50_000_000 < peak_memory() < 64e9
