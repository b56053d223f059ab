"""The part of a run's state that is not a tensor."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cait_finetune.train.run_state import RunState


def test_the_state_survives_json():
    state = RunState(step=7, best_score=(0.1 + 0.2, -math.inf), epoch_loss=1 / 3)
    state.add(np.array([[1.5, 3, 0.25, 1], [math.nan, 0, math.inf, 0]]))
    assert RunState.from_dict(json.loads(json.dumps(state.as_dict()))).as_dict().__repr__() == (
        state.as_dict().__repr__()
    )


def test_nothing_saved_is_the_start_of_a_run():
    assert RunState.from_dict({}) == RunState()


def test_sums_do_not_depend_on_when_figures_are_fetched():
    rows = np.random.default_rng(0).random((50, 4))
    rows[:, 3] = 1
    whole, parts = RunState(), RunState()
    whole.add(rows)
    for start, end in ((0, 1), (1, 20), (20, 50)):
        parts.add(rows[start:end])
    assert whole == parts


def test_add_returns_the_longest_row_of_skipped_steps():
    state = RunState()
    good, bad = [1.0, 1, 1, 1], [math.nan, 0, math.nan, 0]
    assert state.add(np.array([good, bad])) == 1
    assert state.add(np.array([bad, bad, good, bad])) == 3
    assert state.add(np.array([good])) == 0
    assert state.skipped == 4


def test_skipped_steps_are_in_no_mean():
    state = RunState()
    state.add(np.array([[2.0, 4, 1, 1], [0.0, 8, 9, 0], [1.0, 2, 1, 1]]))
    window = state.close_window(8)
    assert (window["loss"], window["accuracy"], window["skipped_steps"]) == (1.5, 3 / 8, 1)
    assert state.close_epoch(8) == {"train_loss": 1.5, "train_accuracy": 3 / 8}
    assert (state.skipped, state.skipped_in_row) == (1, 0)


@pytest.mark.parametrize(
    ("stopped", "limits", "goes_on"),
    [
        ("train.max_hours", (1.0, None), False),
        ("train.max_hours", (3.0, None), True),
        ("train.max_hours", (None, None), True),
        ("train.patience", (None, 3), False),
        ("train.patience", (None, 5), True),
        ("train.patience", (1.0, None), True),
    ],
)
def test_a_limit_that_was_changed(stopped, limits, goes_on):
    state = RunState(stopped=stopped, seconds=2 * 3600.0, epochs_without_better=3)
    state.reconsider(*limits)
    assert (state.stopped == "") == goes_on


def test_speed_of_nothing_is_unknown():
    assert RunState().images_per_second() is None
    assert RunState(timed_seconds=2.0, timed_images=300).images_per_second() == 150


def test_any_score_is_better_than_none():
    """R² has no lower limit."""
    assert (-1e9, -1e9) > RunState().best_score == RunState().phase_score
