"""A word of the command line that nothing reads is refused, or a warning names it."""

from __future__ import annotations

import pytest

from cait_finetune.cli.compose import configure
from cait_finetune.config.typed import CONDITIONS, NOT_READ, check_typed
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import checked

PROBE = ("tuning=linear_probe",)
LBFGS = (*PROBE, "tuning.solver=lbfgs")
REFUSED = [
    (LBFGS, "optimizer=sgd"), (LBFGS, "optimizer.base_lr=1"), (LBFGS, "schedule=constant"),
    (LBFGS, "schedule.warmup_epochs=1"), (LBFGS, "train.epochs=3"), (LBFGS, "train.steps=3"),
    (LBFGS, "train.examples=3"), (LBFGS, "train.steps_per_epoch=3"), (LBFGS, "train.label_smoothing=0"),
    (LBFGS, "train.clip_norm=0"), (LBFGS, "train.log_every=3"), (LBFGS, "train.steps_per_execution=2"),
    (LBFGS, "train.max_skipped_steps=2"), (PROBE, "augment.crop_scale=[0.5,1]"),
    (PROBE, "augment.crop_ratio=[1,1]"), (PROBE, "augment.flip=0"), (PROBE, "dataset.cache=disk"),
    (PROBE, "augment=zoom"), (PROBE, "model.drop_path_rate=0.1"), (PROBE, "model.drop_rate=0.1"),
    (PROBE, "model.attn_drop_rate=0.1"), (PROBE, "optimizer.layer_decay=0.5"),
    ((), "augment.flip=0.5"),  # of digits, which are never mirrored
    (("schedule.warmup_epochs=0",), "schedule.warmup_lr=1e-4"),
    ((), "dataset.fold=0"),  # the default
    (("dataset=leaning_digits",), "dataset.num_classes=10"),
]  # fmt: skip


@pytest.mark.parametrize(("choices", "word"), REFUSED)
def test_a_word_without_effect_is_refused(choices, word):
    length = ["train.epochs=null"] * (word.startswith(("train.steps=", "train.examples")))
    with pytest.raises(UserError) as caught:
        configure(*choices, word, *length)
    key, _, value = word.partition("=")
    first = f"{key}: got {value}, expected no value: {key} has an effect only with "
    assert str(caught.value).startswith(first) or length


def test_every_condition_is_tried():
    tried = {word.partition("=")[0] for _, word in REFUSED}
    assert {key for condition in CONDITIONS for key in condition.keys} <= tried


@pytest.mark.slow
def test_words_with_an_effect():
    assert configure(*PROBE, "train.epochs=3", "optimizer=sgd", "augment=none").train.epochs == 3
    assert configure(*PROBE, "tuning.cache_features=false", "augment.flip=0").augment.flip == 0
    assert configure(*PROBE, "dataset.cache=none").dataset.cache == "none"
    assert configure("augment.flip=0").augment.flip == 0
    assert configure(*PROBE, "augment=light").tuning.method == "linear_probe"  # the default
    assert configure("schedule.warmup_lr=1e-4").schedule.warmup_lr == 1e-4
    assert configure("dataset.num_classes=10").dataset.num_classes == 10


@pytest.mark.parametrize(
    ("command", "words", "named"),
    [
        ("evaluate", ["optimizer=sgd", "+train.batch_size=3", "seed=1"], "optimizer, train.batch_size"),
        ("evaluate", ["train.eval_batch_size=9", "dataset.splits.test=train", "dataset.check=false"], None),
        ("evaluate", ["dataset.cache=none", "augment@_global_.augment=none"], "dataset.cache, augment"),
        ("evaluate", ["dataset.examples_per_class=2", "dataset.folds=3"], "dataset.examples_per_class"),
        ("evaluate", ["dataset.examples_per_class=2", "evaluation.split=train"], None),
        ("train", ["evaluation.split=test", "lr_find.low=1", "export=onnx"], "evaluation.split, lr_find.low"),
        ("lr_find", ["evaluation.split=test", "lr_find.low=1", "logger=csv"], "evaluation.split"),
        ("show_batch", ["lr_find.low=1", "augment=none"], "lr_find.low"),
    ],
)  # fmt: skip
def test_a_word_that_the_command_does_not_read_is_named(command, words, named, caplog):
    split = ["evaluation.split=train"] if "evaluation.split=train" in words else []
    check_typed(words, checked(*split), command)
    reader = "training" if command == "train" else command
    assert caplog.messages == ([f"{reader} does not read {named}"] if named else [])
    assert command in NOT_READ
