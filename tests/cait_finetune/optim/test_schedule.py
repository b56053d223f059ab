import itertools
import math

import pytest

from cait_finetune.config import ScheduleConfig
from cait_finetune.optim.schedule import WarmupCosine, build_schedule


def build(epochs: int, steps: int = 10, warmup_epochs: float = 1.0) -> WarmupCosine:
    config = ScheduleConfig(warmup_epochs=warmup_epochs, warmup_lr=1e-6, min_lr=1e-5)
    return build_schedule(config, 1e-3, steps, epochs)


def test_the_named_points():
    schedule = build(epochs=5)
    assert (schedule.warmup_steps, schedule.total_steps) == (10, 50)
    assert schedule(0) == 1e-6
    assert schedule(5) == pytest.approx((1e-6 + 1e-3) / 2)
    assert schedule(10) == pytest.approx(1e-3)
    assert schedule(49) == pytest.approx(1e-5, rel=1e-9)


def test_every_value_of_the_cosine():
    schedule = build(epochs=5)
    for step in range(10, 50):
        expected = 1e-5 + (1e-3 - 1e-5) * math.cos(math.pi / 2 * (step - 10) / 39) ** 2
        assert schedule(step) == pytest.approx(expected)


def test_up_then_down():
    values = [build(epochs=5)(step) for step in range(50)]
    assert all(a < b for a, b in itertools.pairwise(values[:11]))
    assert all(a > b for a, b in itertools.pairwise(values[10:]))
    assert max(values) == values[10]


def test_the_rate_does_not_rise_again_after_the_last_step():
    assert build(epochs=5)(60) == pytest.approx(1e-5)


def test_without_warm_up_the_first_step_has_the_base_rate():
    schedule = build(epochs=2, warmup_epochs=0)
    assert schedule(0) == 1e-3
    assert schedule(19) == pytest.approx(1e-5)


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 5), (2, 10), (3, 10)])
def test_a_short_run_warms_up_for_its_first_half_at_most(epochs, warmup):
    schedule = build(epochs=epochs)
    assert schedule.warmup_steps == warmup
    assert schedule(warmup) == pytest.approx(1e-3)
    assert schedule(10 * epochs - 1) == pytest.approx(1e-5)


def test_a_warm_up_of_part_of_an_epoch_is_counted_in_steps():
    assert build(epochs=4, warmup_epochs=0.5).warmup_steps == 5


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_of_a_few_steps_has_a_rate_for_each(steps):
    schedule = build(epochs=1, steps=steps)
    values = [schedule(step) for step in range(steps)]
    assert all(1e-6 <= value <= 1e-3 for value in values)
    assert max(values) == 1e-3  # not only warm-up
