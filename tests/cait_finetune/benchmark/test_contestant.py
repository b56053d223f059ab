from dataclasses import replace

import pytest

from cait_finetune.benchmark.contestant import CannotCompile, Ended
from cait_finetune.errors import UserError
from tests.cait_finetune.benchmark import stand_ins
from tests.cait_finetune.benchmark.stand_ins import COMPILED, TASK


def test_a_process_of_its_own_with_cores_and_memory_of_its_own(contestant):
    one = contestant(stand_ins.__name__, TASK)
    one.begin()
    before = one.memory()
    assert before.work > 35_000_000  # two calls, of 20 MB each
    assert one.measure(warmup=1, repetitions=1) > 0
    after = one.memory()
    assert 35_000_000 < after.calls - before.calls < 60_000_000
    assert after.life >= after.calls > after.libraries == before.libraries
    assert one.product_peak("float32") == 101  # of the cores it has but one


def test_a_compiler_that_does_not_work(contestant):
    with pytest.raises(CannotCompile, match="no compiler"):
        contestant(stand_ins.__name__, COMPILED).begin()


def test_a_card_without_enough_memory(contestant):
    with pytest.raises(
        UserError, match=r"training cait_nano_32, float32, batch 8: got a card .*\n.*timm=false"
    ):
        contestant(stand_ins.__name__, replace(TASK, device="gpu")).begin()


def test_a_process_that_the_system_ends(contestant):
    one = contestant(stand_ins.__name__, replace(TASK, work="latency"))
    with pytest.raises(Ended, match=r"latency cait_nano_32, float32: got .* for want of memory"):
        one.begin()
