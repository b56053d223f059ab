import itertools
import math

import pytest

from cait_finetune.config import ScheduleConfig
from cait_finetune.errors import UserError
from cait_finetune.optim.length import Length, run_length, warmup_length
from cait_finetune.optim.schedule import Schedule, build_schedule
from tests.cait_finetune.stand_ins import checked
from tests.cait_finetune.tiny import optimizer_config


def config(name: str = "cosine", **changes) -> ScheduleConfig:
    values = {"warmup_epochs": 1.0, "warmup_lr": 1e-6, "min_lr": 1e-5, **changes}
    return ScheduleConfig(name=name, **values)


def build(epochs: int, steps: int = 10, warmup_epochs: float = 1.0, **changes) -> Schedule:
    chosen = config(warmup_epochs=warmup_epochs, **changes)
    warmup = warmup_length(chosen, 32, steps)
    return build_schedule(chosen, 1e-3, warmup, steps * epochs, steps)


def test_the_schedule_passes_warmup_peak_and_min_lr():
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


def test_the_rate_rises_in_warmup_then_falls():
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
    assert max(values) == 1e-3  # the warm-up ends within the run


def test_the_linear_schedule_falls_linearly_to_min_lr():
    schedule = build(epochs=5, name="linear")
    assert schedule(5) == pytest.approx((1e-6 + 1e-3) / 2)
    for step in range(10, 50):
        assert schedule(step) == pytest.approx(1e-3 + (1e-5 - 1e-3) * (step - 10) / 39)


def test_constant_after_the_warm_up():
    schedule = build(epochs=5, name="constant")
    assert schedule(5) < 1e-3
    assert {schedule(step) for step in range(10, 50)} == {1e-3}


def test_the_step_schedule_multiplies_by_factor_down_to_min_lr():
    schedule = build(epochs=7, name="step", step_epochs=2.0, factor=0.2)
    values = [schedule(step) for step in range(70)]
    assert set(values[10:20]) == {1e-3}
    assert values[20:40] == pytest.approx([2e-4] * 20)
    assert values[40:60] == pytest.approx([4e-5] * 20)
    assert values[60:] == pytest.approx([1e-5] * 10)  # min_lr is the lower limit


def test_ramp_and_decay_is_the_notebooks():
    def notebook(epoch, start=1e-5, peak=2e-4, low=1e-5, ramp=5, decay=0.8):
        if epoch < ramp:
            return (peak - start) / ramp * epoch + start
        return (peak - low) * decay ** (epoch - ramp) + low

    chosen = checked("schedule=ramp_decay").schedule
    schedule = build_schedule(chosen, 2e-4, warmup_length(chosen, 128, 26), 260, 26)
    for step in range(260):
        assert schedule(step) == pytest.approx(notebook(step // 26)), step


@pytest.mark.parametrize("name", ["cosine", "linear", "constant", "step", "ramp_decay"])
def test_every_schedule_composes_and_stays_within_its_rates(name):
    chosen = checked(f"schedule={name}").schedule
    schedule = build_schedule(chosen, 1e-3, 20, 100, 10)
    values = [schedule(step) for step in range(100)]
    assert all(0 <= value <= 1e-3 * (1 + 1e-9) for value in values)
    assert values[20] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *((name, "warmup_epochs", 2.0) for name in ("cosine", "linear", "constant", "ramp_decay")),
        ("cosine", "warmup_lr", 1e-4),
        ("cosine", "min_lr", 1e-4),
        ("linear", "min_lr", 1e-4),
        ("ramp_decay", "min_lr", 1e-4),
        ("ramp_decay", "factor", 0.5),
        ("step", "min_lr", 5e-4),
        ("step", "factor", 0.5),
        ("step", "step_epochs", 2.0),
    ],
)
def test_every_key_changes_the_rate(name, key, value):
    usual = {"name": name, "step_epochs": 3.0, "factor": 0.1}
    ours, other = build(epochs=5, **usual), build(epochs=5, **{**usual, key: value})
    assert max(abs(ours(step) - other(step)) for step in range(50)) > 5e-5


@pytest.mark.parametrize(
    ("keys", "total"),
    [({"epochs": 3}, 12), ({"steps": 5}, 5), ({"examples": 100}, 4), ({"examples": 96}, 3)],
)
def test_the_length_in_any_unit(keys, total):
    unit = next(iter(keys))
    words = [f"train.{unit}={keys[unit]}", "train.batch_size=32"]
    words += [] if unit == "epochs" else ["train.epochs=null"]
    train = checked(*words).train
    assert run_length(train, 100) == Length(total, 4)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["train.epochs=3"], Length(30, 10)),
        (["train.epochs=null", "train.steps=25"], Length(25, 10)),
        (["train.epochs=null", "train.examples=100"], Length(4, 10)),
    ],
)
@pytest.mark.parametrize("images", [5, 100, 1000])
def test_an_epoch_of_so_many_steps_whatever_the_images(keys, expected, images):
    train = checked(*keys, "train.batch_size=32", "train.steps_per_epoch=10").train
    assert run_length(train, images) == expected


@pytest.mark.parametrize(
    ("keys", "steps"),
    [({"warmup_epochs": 0.5}, 5), ({"warmup_steps": 7}, 7), ({"warmup_examples": 65}, 3)],
)
def test_the_warm_up_in_any_unit(keys, steps):
    chosen = ScheduleConfig(name="cosine", warmup_lr=0.0, min_lr=0.0, **keys)
    assert warmup_length(chosen, 32, 10) == steps


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train.steps=9", "train.epochs=7"],
            "train.steps: got train.epochs=7 beside train.steps=9,",
        ),
        (["train.examples=5", "train.epochs=3"], "train.examples: got train.epochs=3 beside"),
        (["train.epochs=null"], "train.epochs: got nothing, expected one of epochs, steps"),
        (
            ["schedule.warmup_steps=5"],
            "schedule.warmup_steps: got schedule.warmup_epochs=1.0 beside",
        ),
        (["train.epochs=null", "train.steps=0"], "train.steps: got 0"),
    ],
)
def test_two_lengths_or_no_length_are_refused(words, message):
    with pytest.raises(UserError) as error:
        checked(*words)
    assert str(error.value).startswith(message)
    if "beside" in message:
        assert "add " in str(error.value)
        assert "epochs=null" in str(error.value)


def test_the_rate_scales_with_the_batch_where_one_is_given():
    assert optimizer_config().peak(64) == 1e-3
    assert optimizer_config(lr_batch_size=512).peak(64) == pytest.approx(1.25e-4)
    sgd = checked("optimizer=sgd", "model=cait_s24_224", "train.batch_size=96").optimizer
    assert sgd.peak(96) == pytest.approx(0.01 * 96 / 768)


def test_schedule_free_brings_a_constant_rate():
    assert checked("optimizer=schedule_free").schedule.name == "constant"
    assert checked("optimizer=schedule_free", "schedule=linear").schedule.name == "linear"
