"""What `task=regression` refuses, and what it chooses."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.config import TaskConfig
from cait_finetune.errors import UserError
from cait_finetune.scores.predictions import Predictions
from cait_finetune.tasks import task_of
from tests.cait_finetune.stand_ins import checked

WORDS = ("task=regression", "dataset=csv", "dataset.data_dir=x")
MIXED = r"0 for both: a mixed image has no number of its own"
NO_CLASSES = "numbers have no classes"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "augment.mixup=0.8",
            rf"augment\.mixup: got 0\.8, .*with task=regression, expected {MIXED}",
        ),
        ("augment.cutmix=1", rf"augment\.mixup: got 0, and augment\.cutmix=1, with .*{MIXED}"),
        (
            "loss.class_weights=balanced",
            rf"loss\.class_weights: got balanced with task=regression, expected none: {NO_CLASSES}",
        ),
        (
            "loss.logit_adjustment=1",
            rf"loss\.logit_adjustment: got 1.* with task=regression, expected 0: {NO_CLASSES}",
        ),
        (
            "tuning=linear_probe_lbfgs",
            r"tuning\.solver: got lbfgs with task=regression, expected sgd: L-BFGS solves",
        ),
        (
            "loss.name=bce",
            r"loss\.name: got bce with task=regression, expected mse or huber or l1",
        ),
        ("dataset.metric=top1", r"dataset\.metric: got top1 with task=regression, expected r2"),
    ],
)
def test_what_needs_classes_is_refused(word, message):
    words = ("tuning=linear_probe", "tuning.solver=lbfgs") if "lbfgs" in word else (word,)
    with pytest.raises(UserError, match=f"^{message}"):
        checked(*WORDS, *words)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("augment.mixup", "augment.mixup=0 augment.cutmix=0"),
        ("augment.cutmix", "augment.mixup=0 augment.cutmix=0"),
        ("loss.logit_adjustment", "loss.logit_adjustment=0"),
    ],
)
def test_a_refusal_says_which_word_to_write(key, words):
    with pytest.raises(UserError, match=rf"\n\s*Set {words}\.$"):
        checked(*WORDS, f"{key}=0.5")


@pytest.mark.parametrize("name", ["classification", "multi_label"])
def test_classes_have_no_alpha(name):
    message = (
        rf"^task\.alpha: got 0\.2, expected null with task\.name={name}: the key is for regression"
    )
    with pytest.raises(UserError, match=message):
        checked(f"task={name}", "task.alpha=0.2")


@pytest.mark.parametrize("name", ["mse", "huber", "l1"])
def test_a_loss_of_numbers_needs_numbers(name):
    with pytest.raises(UserError, match=rf"^loss\.name: got {name} with task=classification"):
        checked(f"loss.name={name}")
    assert checked(*WORDS, f"loss.name={name}").loss.name == name


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 0.6])
def test_alpha_is_a_small_share(alpha):
    with pytest.raises(UserError, match=rf"^task\.alpha: got {alpha}"):
        checked(*WORDS, f"task.alpha={alpha}")


def test_alpha_reaches_the_intervals():
    assert task_of(checked(*WORDS).task).postprocessing.alpha == 0.1
    assert task_of(checked(*WORDS, "task.alpha=0.25").task).postprocessing.alpha == 0.25
    assert task_of(TaskConfig("regression")).postprocessing.alpha == 0.1
    # The task with one alpha leaves the registered one as it is.
    assert task_of(TaskConfig("regression", 0.4)).postprocessing.alpha == 0.4
    assert task_of(TaskConfig("regression")).postprocessing.alpha == 0.1


def test_the_epoch_is_chosen_by_r2_which_has_an_interval():
    task = task_of(TaskConfig("regression"))
    assert task.judged_by(checked(*WORDS).dataset) == "r2"
    assert task.also(["angle"]) == ("mae", "rmse")
    assert task.also(["angle", "size"]) == ("spearman",)  # two units have no mean
    random = np.random.default_rng(0)
    true = random.normal(size=(30, 2)).astype("float32")
    one = Predictions(true + 0.3, true, list(map(str, range(30))), ["a", "b"])
    evaluation = task.build_evaluator(lambda numbers, training: numbers, one.class_names)(
        one.batches(8)
    )
    low, high = task.intervals(one, evaluation)["r2"]
    assert low < evaluation.r2 < high
