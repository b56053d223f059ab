from dataclasses import replace

import pytest

from cait_finetune.benchmark.worker import CannotCompile, Memory, WorkerKilled
from cait_finetune.errors import UserError
from tests.cait_finetune.benchmark import stand_ins
from tests.cait_finetune.benchmark.stand_ins import COMPILED, TASK


def test_a_worker_process_has_its_own_cores_and_memory(worker):
    one = worker(stand_ins.__name__, TASK)
    one.start()
    before = one.memory()
    assert before.work > 35_000_000  # start() makes two calls of 20 MB each
    assert one.measure(warmup=1) > 0
    after = one.memory()
    assert 35_000_000 < after.calls - before.calls < 60_000_000
    assert after.life >= after.calls > after.libraries == before.libraries
    assert one.matmul_flops() == 101  # one core, plus 100 for float32


def test_a_compiler_that_does_not_work(worker):
    with pytest.raises(CannotCompile, match="no compiler"):
        worker(stand_ins.__name__, COMPILED).start()


def test_a_card_without_enough_memory(worker):
    with pytest.raises(
        UserError, match=r"training cait_nano_32, float32, batch 8: got a GPU .*\n.*timm=false"
    ):
        worker(stand_ins.__name__, replace(TASK, device="gpu")).start()


def test_a_process_that_the_system_ends(worker):
    one = worker(stand_ins.__name__, replace(TASK, work="latency"))
    with pytest.raises(
        WorkerKilled, match=r"latency cait_nano_32, float32: got .* for lack of memory"
    ):
        one.start()


def test_the_memory_of_the_work_is_without_the_libraries():
    assert Memory(libraries=10, life=100, calls=60).work == 50
