"""The learning-rate range test: its rules and real runs."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from PIL import Image

from cait_finetune.commands.lr_find import find, losses_at, smooth, suggest_rate
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import checked


def test_smoothing_has_no_bias_at_its_start():
    assert smooth([3.0] * 5, 0.9) == pytest.approx([3.0] * 5)
    assert smooth([1.0, 2.0], 0.5) == pytest.approx([1.0, 5 / 3])


def test_the_suggestion_of_a_known_curve():
    rates = np.geomspace(1e-6, 1, 121)
    # The loss falls fastest at 1e-3, is lowest at 1e-2, and then diverges.
    losses = 2 - np.tanh((np.log10(rates) + 3) * 2) + np.where(rates > 1e-2, rates * 300, 0)
    suggestion = suggest_rate(rates.tolist(), losses.tolist(), losses.tolist())
    assert suggestion.steepest == pytest.approx(1e-3, rel=0.1)
    assert suggestion.tenth_of_lowest == pytest.approx(1e-3, rel=0.2)


@pytest.mark.parametrize("curve", ["grows", "is flat", "ends at once"])
def test_a_curve_without_a_descent_gives_no_suggestion(curve):
    rng = np.random.default_rng(0)
    losses = 2 + 0.1 * rng.normal(size=60)
    losses += np.linspace(0, 3, 60) if curve == "grows" else 0
    losses = losses[: 5 if curve == "ends at once" else 60].tolist()
    rates = np.geomspace(1e-5, 1, len(losses)).tolist()
    assert suggest_rate(rates, losses, smooth(losses, 0.9)) is None


def test_it_ends_where_the_smoothed_loss_is_four_times_its_lowest():
    rates = [1.0] * 9
    given = [2.0, 1.0, 4.0, 3.9, 4.1, 9.0, 1.0, 1.0, 1.0]
    values = iter(given)
    assert losses_at(rates, lambda _: next(values), 0.0) == given[:5]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_it_ends_at_a_loss_that_is_not_finite(broken):
    given = iter([2.0, 1.0, broken, 1.0])
    assert losses_at([1.0] * 4, lambda _: next(given), 0.9) == [2.0, 1.0]
    assert next(given) == 1.0  # no further step
    with pytest.raises(UserError, match=r"lr_find\.low: got 0\.5, where the loss is not finite"):
        losses_at([0.5, 1.0], lambda _: broken, 0.9)


def test_each_step_has_its_rate():
    rates = np.geomspace(1e-5, 1e-1, 5).tolist()
    asked: list[float] = []
    losses_at(rates, lambda rate: asked.append(rate) or 1.0, 0.9)
    assert asked == rates


@pytest.mark.slow
def test_a_real_run_leaves_a_table_and_a_picture(tmp_path, capsys):
    config = checked("model.image_size=16", "lr_find.steps=60",
                     "lr_find.low=3e-4", "augment=none", "train.batch_size=64",
                     "optimizer.lr_batch_size=128")  # fmt: skip
    suggestion = find(config, tmp_path / "run")
    assert 3e-4 < suggestion.steepest < 0.3
    with open(tmp_path / "run/lr_find.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[0] == pytest.approx(3e-4)
    assert np.ptp(np.diff(np.log(rates))) < 1e-6
    assert min(float(row["smoothed"]) for row in rows) < float(rows[0]["loss"]) - 0.02
    picture = np.asarray(Image.open(tmp_path / "run/lr_find.png").convert("RGB"))
    assert picture.std() > 10
    out = capsys.readouterr().out
    assert f"optimizer.base_lr={suggestion.steepest:.1e} optimizer.lr_batch_size=null" in out
    assert "lr     0.002 × 64/128 = 0.001\n" in out
    assert "alone" not in out  # the run has a single phase
    assert not list((tmp_path / "run/checkpoints").iterdir())


@pytest.mark.slow
def test_a_flat_curve_is_drawn_before_the_error(tmp_path, capsys):
    config = checked("model.image_size=16", "lr_find.steps=12",
                     "lr_find.low=1e-9", "lr_find.high=1e-8", "augment=none",
                     "tuning=head_then_full")  # fmt: skip
    with pytest.raises(UserError, match=r"lr_find\.low: got 1e-09: the loss hardly fell") as error:
        find(config, tmp_path / "run")
    assert str(tmp_path / "run/lr_find.png") in str(error.value)
    picture = np.asarray(Image.open(tmp_path / "run/lr_find.png").convert("RGB"))
    assert picture.std() > 10
    with open(tmp_path / "run/lr_find.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 12
    assert "phase  head alone, the first of the run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "key"),
    [("resume=some/run", "resume"), ("train.steps_per_execution=2", "train.steps_per_execution")],
)
def test_the_command_refuses_resume_and_steps_per_execution(tmp_path, word, key):
    with pytest.raises(UserError, match=rf"{key}: got"):
        find(checked(word), tmp_path)
