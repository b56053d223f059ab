from cait_finetune.benchmark.memory import Memory, forget_peak, peak, resident


def test_the_peak_outlives_what_was_held_until_it_is_forgotten():
    before = resident()
    held = bytearray(b"1" * 200_000_000)
    assert resident() - before > 150_000_000
    assert peak() >= resident()
    del held
    assert peak() - resident() > 150_000_000
    forget_peak()
    assert peak() - resident() < 50_000_000


def test_what_work_took():
    assert Memory(libraries=10, life=100, calls=60).work == 50
