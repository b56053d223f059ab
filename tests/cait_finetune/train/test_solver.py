"""The head solved to the optimum of a penalised logistic regression."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from cait_finetune.data.feature_cache import Features
from cait_finetune.model import Head
from cait_finetune.scores.evaluation import Evaluator
from cait_finetune.train.logbook import Logbook
from cait_finetune.train.run_state import RunState
from cait_finetune.train.solver import _solver, solve_head
from cait_finetune.train.validation import Validation
from tests.cait_finetune.tiny import snapshot, tiny_model

WIDTH = 48


class FakeCheckpoints:
    """Keep the saved epoch and head weights, by path."""

    best, last = Path("best"), Path("last")

    def __init__(self):
        self.saved = {}

    def save(self, model, path, epoch):
        self.saved[str(path)] = (epoch, [np.array(weight) for weight in model.head.weights])


def clusters(classes, count, noise, seed):
    """Return points around one centre per class, with features of different scales, and labels."""
    centres = np.random.default_rng(0).normal(size=(max(classes) + 1, WIDTH))
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count).astype("int32")
    points = centres[labels] + noise * rng.normal(size=(count, WIDTH))
    return (points * np.logspace(-1, 1, WIDTH) + 3.0).astype("float32"), labels


def solve(classes=(0, 1, 2, 3), num_classes=4, noise=3.0):
    model = tiny_model(num_classes)
    train, validation = clusters(classes, 200, noise, 1), clusters(classes, 160, noise, 2)
    evaluator = Evaluator(Head(model))
    checkpoints, records, output = FakeCheckpoints(), [], io.StringIO()

    def validate():
        metrics = evaluator([(*validation, np.ones(160, bool))])
        return {"loss": metrics.loss, "top1": metrics.top1, "top5": metrics.top5}

    before = snapshot(model)
    training = RunState()
    log = SimpleNamespace(write=lambda kind, **values: records.append(values))
    logbook = Logbook(training, log, checkpoints, Console(file=output, width=200))
    solve_head(model, Features(*train), Validation(validate, "top1"), logbook)
    changed = {
        path for path, array in snapshot(model).items() if not np.array_equal(array, before[path])
    }
    assert changed == {weight.path for weight in model.head.weights}
    return model, train, validate, training, checkpoints, records, output.getvalue()


@pytest.fixture(scope="module")
def solved():
    return solve()


def test_validation_chooses_the_penalty(solved):
    model, _, validate, training, checkpoints, records, _ = solved
    best = max(range(7), key=lambda i: (records[i]["validation_top1"], -records[i]["validation_loss"]))  # fmt: skip
    assert training.best_epoch == best + 1
    assert training.best_score[0] == records[best]["validation_top1"] > 0.5
    epoch, weights = checkpoints.saved["best"]
    assert epoch == best + 1
    for variable, array in zip(model.head.weights, weights, strict=True):
        variable.assign(array)
    assert validate()["top1"] == training.best_score[0]
    assert checkpoints.saved["last"][0] == 7
    assert training.images_per_second() > 0


def test_weaker_penalties_fit_the_training_images_better(solved):
    *_, records, output = solved
    losses = [record["train_loss"] for record in records]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 5 * losses[-1]
    strengths = [record["inverse_penalty"] for record in records]
    assert strengths == pytest.approx([10.0**power for power in range(-4, 3)])
    assert [record["epoch"] for record in records] == list(range(1, 8))
    assert len(output.splitlines()) == 7


def test_the_figures_are_those_of_the_head(solved):
    model, (features, labels), _, _, checkpoints, records, _ = solved
    for variable, array in zip(model.head.weights, checkpoints.saved["last"][1], strict=True):
        variable.assign(array)
    metrics = Evaluator(Head(model))([(features, labels, np.ones(len(labels), bool))])
    assert records[-1]["train_loss"] == pytest.approx(metrics.loss, abs=1e-4)
    assert records[-1]["train_accuracy"] == pytest.approx(metrics.top1)


def test_two_classes():
    model, (features, labels), _, training, _, records, _ = solve((0, 1), 2, noise=4.0)
    assert training.best_score[0] > 0.8
    assert records[-1]["train_accuracy"] > 0.9
    weights = [np.array(weight) for weight in model.head.weights]
    for factor in (0.8, 1.25):  # the last solution, almost without a penalty, is an optimum
        for variable, array in zip(model.head.weights, weights, strict=True):
            variable.assign(factor * array)
        metrics = Evaluator(Head(model))([(features, labels, np.ones(len(labels), bool))])
        assert metrics.loss > records[-1]["train_loss"] + 1e-4


def test_a_class_without_training_images_is_never_predicted():
    model, (features, _), _, training, *_ = solve((0, 2, 3), 5)
    logits = np.asarray(model.head(features))
    assert set(logits.argmax(axis=1)) <= {0, 2, 3}
    assert np.isfinite(logits).all()
    assert training.best_score[0] > 0.5


def test_features_that_hardly_vary_are_not_blown_up():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    features = np.ones((40, WIDTH)) + 1e-6 * rng.normal(size=(40, WIDTH))
    solution = _solver(features.astype("float32"), labels, 2)(1e2)
    assert np.abs(solution.kernel).max() < 1.0
