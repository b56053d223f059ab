from cait_finetune.benchmark.memory import Memory


def test_what_work_took():
    assert Memory(libraries=10, life=100, calls=60).work == 50
