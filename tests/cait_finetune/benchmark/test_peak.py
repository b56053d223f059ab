import pytest

from cait_finetune.benchmark import peak


def test_the_quickest_call_but_the_first(monkeypatch):
    clock = [0.0]
    lasting = iter([9.0, 2.0, 0.5, 4.0, 0.1])
    monkeypatch.setattr(peak.time, "perf_counter", lambda: clock[0])

    def work():
        clock[0] += next(lasting)

    # The fourth ends after the five seconds; the fifth is not made.
    assert peak.fastest(work, operations=10, seconds=5) == pytest.approx(20)
    assert next(lasting) == 0.1
