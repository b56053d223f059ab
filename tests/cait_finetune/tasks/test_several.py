"""What `task=several` refuses, its loss, and its metrics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.config import LossConfig
from cait_finetune.data.targets import ONE_CLASS, SEVERAL_LABELS
from cait_finetune.errors import UserError
from cait_finetune.scores.predictions import Predictions
from cait_finetune.tasks.several import Several
from cait_finetune.train.loss import class_loss
from cait_finetune.train.several_loss import several_losses
from tests.cait_finetune.stand_ins import checked

SEVERAL = Several()
NAMES = ("a=x", "a=y", "b=x", "b=y")
WORDS = ("task=several", "dataset=csv", "dataset.data_dir=x", "dataset.columns.labels=[a,b]")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss.weights=[1]"], r"loss\.weights: got 1 numbers, expected 2, one for each of .*a, b"),
        (["loss.weights=[1,-1]"], r"loss\.weights: got "),
        (["loss.weights=[0,0]"], r"loss\.weights: got "),
        (["dataset.columns.labels=[a,a]"], r"dataset\.columns\.labels: got "),
        (["dataset=folder"], r"task: got several with dataset\.source=folder"),
        (["head=mlp"], r"head\.name: got mlp with task=several"),
        (["tuning=linear_probe", "tuning.solver=lbfgs"], r"tuning\.solver: got lbfgs"),
        (["export=timm"], r"export\.timm: got true with task=several"),
    ],
)
def test_what_does_not_fit_is_refused(words, message):
    words = [*WORDS, *words]
    if "dataset=folder" in words:
        words.remove("dataset=csv")
    if "dataset=folder" in words or "dataset.columns.labels=[a,a]" in words:
        words.remove("dataset.columns.labels=[a,b]")
    with pytest.raises(UserError, match=f"^{message}"):
        checked(*words)


@pytest.mark.parametrize(
    ("target", "word", "message"),
    [
        (
            SEVERAL_LABELS,
            "dataset.columns.labels=[a,b] dataset.columns.label=c",
            r"dataset\.columns\.label: got c with task=several",
        ),
        (
            SEVERAL_LABELS,
            "dataset.columns.labels=null",
            r"dataset\.columns\.labels: got nothing with",
        ),
        (
            SEVERAL_LABELS,
            "dataset.columns.labels=[a=b]",
            r"dataset\.columns\.labels: got \[a=b\] with",
        ),
        (ONE_CLASS, "dataset.columns.labels=[a,b]", r"dataset\.columns\.labels: got .* with task="),
    ],
)
def test_columns_of_another_task_are_refused(target, word, message):
    config = checked(*WORDS[:3], *word.replace("=b]", "\\=b]").split()).dataset
    with pytest.raises(UserError, match=f"^{message}"):
        target.check_config(config)


def test_a_missing_label_has_no_loss_and_the_others_their_mean():
    """Half of the training images have the second label, so its losses count twice."""
    labels = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]], "float32")  # the second image lacks one
    logits = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")
    columns = [slice(0, 2), slice(2, 5)]
    config = LossConfig(name="cross_entropy")
    losses = several_losses(config, 0.0, columns, [1.0, 0.5], np.array([50, 50, 20, 20, 10]), 100)
    got = np.asarray(losses(*map(tf.constant, (labels, logits))))

    def entropy(part, row):
        shifted = logits[row, part] - np.log(np.exp(logits[row, part]).sum())
        return -(labels[row, part] * shifted).sum()

    wanted = [
        (entropy(columns[0], 0) + 0.5 * 2 * entropy(columns[1], 0)) / 1.5,
        entropy(columns[0], 1) / 1.5,
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    one = several_losses(config, 0.1, [slice(0, 2)], [1.0], np.ones(2) * 50, 100)
    plain = class_loss(config, 0.1, False, None, 100)
    own = [tf.constant(values[:, :2]) for values in (labels, logits)]
    np.testing.assert_array_equal(one(*own), plain(*own))


@pytest.mark.parametrize("names", [("a=x", "a=y", "b=x", "b=y"), ("b=x", "b=y", "a=x", "a=y")])
def test_weights_belong_to_labels_by_name(names):
    """A continued run has the columns of the first run, in its order."""
    source = Listed(names)
    config = checked(*WORDS, "loss.weights=[3,1]")
    factors = SEVERAL.build_loss(config, source).factors
    assert dict(zip((name[0] for name in names[::2]), factors, strict=True)) == {
        "a": 0.75,
        "b": 0.25,
    }
    assert SEVERAL.build_loss(checked(*WORDS), source).factors == [0.5, 0.5]


@dataclasses.dataclass
class Listed:
    """The classes and counts of a source with 20 training images."""

    class_names: tuple[str, ...]
    sizes = {"train": 20}
    weighted = False

    def class_counts(self, split):
        return np.full(len(self.class_names), 10)


def test_a_label_without_images_has_no_metric_and_no_mistakes():
    found = split([[0, 1, 0, 0], [1, 0, 0, 0]], [[1, 0, 9, 0], [2, 0, 0, 0]])
    evaluation = SEVERAL.build_evaluator(lambda logits, training: logits, NAMES)(found.batches(2))
    assert evaluation.as_metrics().keys() == {"loss", "top1", "mean_per_class", "top1/a"}
    assert evaluation.as_metrics()["top1"] == 0.5
    assert set(SEVERAL.intervals(found, evaluation)) >= {"top1", "top1/a"}
    mistakes = SEVERAL.mistakes(found, SEVERAL.postprocessing.named(NAMES))
    assert [(one.id, one.truth) for one in mistakes] == [("0", "a=y")]


def test_the_interval_of_the_mean_holds_it():
    random = np.random.default_rng(0)
    number = random.integers(2, size=(80, 2))
    labels = np.eye(2)[number].reshape(80, 4)
    labels[::5, 2:] = 0
    found = split(labels, random.normal(size=(80, 4)) + labels)
    evaluation = SEVERAL.build_evaluator(lambda logits, training: logits, NAMES)(found.batches(16))
    intervals, metrics = SEVERAL.intervals(found, evaluation), evaluation.as_metrics()
    assert list(intervals) == ["top1", "mean_per_class", "top1/a", "top1/b"]
    for name, (low, high) in intervals.items():
        assert low < metrics[name] < high
    widths = {name: high - low for name, (low, high) in intervals.items()}
    assert widths["top1"] < min(widths["top1/a"], widths["top1/b"])  # it has more answers


def split(labels, logits) -> Predictions:
    ids = [str(number) for number in range(len(labels))]
    return Predictions(*(np.array(one, "float32") for one in (logits, labels)), ids, NAMES)


def test_training_counts_the_labels_that_are_there():
    labels = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]], "float32")
    logits = np.array([[2, 1, 5, 0, 0], [0, 1, 9, 0, 0]], "float32")
    columns = [slice(0, 2), slice(2, 5)]
    config = LossConfig(name="cross_entropy")
    losses = several_losses(config, 0.0, columns, [1.0, 1.0], np.ones(5) * 20, 100)
    np.testing.assert_array_equal(losses.correct(*map(tf.constant, (labels, logits))), [0.5, 1.0])
