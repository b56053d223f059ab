"""The head of a linear probe, solved to the optimum instead of trained in steps."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Protocol

import keras
import numpy as np

from cait_finetune.train.logbook import Logbook
from cait_finetune.train.validation import Validation

#: Inverse strengths of the L2 penalty, strongest first: each solution starts the next.
_STRENGTHS = tuple(10.0**power for power in range(-4, 3))
_MAX_ITERATIONS = 1000
_NEVER = 20.0


@dataclasses.dataclass(frozen=True)
class _Solution:
    kernel: np.ndarray  # (D, C)
    bias: np.ndarray  # (C,)
    iterations: int

    def assign(self, head: keras.layers.Dense) -> None:
        head.kernel.assign(self.kernel)
        head.bias.assign(self.bias)


class LabelledFeatures(Protocol):
    """``values`` (N, D) and ``labels`` (N,)."""

    values: np.ndarray
    labels: np.ndarray


def solve_head(
    model: keras.Model,
    training: LabelledFeatures,
    validation: Validation,
    logbook: Logbook,
) -> None:
    """Solve logistic regression by L-BFGS for each penalty; validation decides which is kept.

    What is an epoch elsewhere is a penalty here, from strong to weak: each has its record in the
    log, and the best its checkpoint. There is no label smoothing, no schedule and no augmentation.

    Args:
        model: the classifier, whose ``head`` gets the solution.
        training: features (N, D) of the training images, and their labels (N,).
        validation: decides which penalty is best.
        logbook: its state gets the best score and the speed.

    Raises:
        UserError: a checkpoint cannot be written.
    """
    features, labels = training.values, training.labels
    state, checkpoints = logbook.state, logbook.checkpoints
    passes, started = 0, time.perf_counter()
    solve = _solver(features, labels, model.num_classes)
    for epoch, strength in enumerate(_STRENGTHS, start=1):
        solution = solve(strength)
        solution.assign(model.head)
        passes += solution.iterations
        loss, accuracy = _fit(solution, features, labels)
        metrics = validation.measure()
        logbook.metrics.write("epoch", epoch=epoch, inverse_penalty=strength, train_loss=loss, train_accuracy=accuracy,
            **{f"validation_{key}": value for key, value in metrics.items()})  # fmt: skip
        logbook.console.print(
            f"C {strength:<8g} train loss {loss:.4f}  accuracy {accuracy:.2%}  "
            f"validation loss {metrics['loss']:.4f}  {validation.describe(metrics)}  "
            f"({solution.iterations} iterations)",
            highlight=False,
        )
        checkpoints.save(model, checkpoints.last, epoch)
        score = validation.score(metrics)
        if score > state.best_score:
            state.best_score, state.best_epoch = score, epoch
            state.best_sha256 = checkpoints.save(model, checkpoints.best, epoch)
    state.seconds = state.timed_seconds = time.perf_counter() - started
    state.timed_images = passes * len(labels)


def _solver(
    features: np.ndarray, labels: np.ndarray, num_classes: int
) -> Callable[[float], _Solution]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # Solved on features of mean 0 and variance 1, so that one penalty is fair to all of them. One
    # that varies by less than a tenth of their size is not blown up to it, or rounding errors of the
    # backbone would show in the probabilities.
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    size = np.sqrt(np.mean(features**2))
    scale = 1.0 / np.maximum(deviation, max(0.1 * size, 1e-12))
    regression = LogisticRegression(max_iter=_MAX_ITERATIONS, warm_start=True)

    def solve(strength: float) -> _Solution:
        regression.C = strength
        with warnings.catch_warnings():  # the number of iterations is shown
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit((features - mean) * scale, labels)
        rows, offsets = regression.coef_, regression.intercept_
        if len(rows) == 1:  # two classes: one row, for the second of them
            rows = np.concatenate([-rows / 2, rows / 2])
            offsets = np.concatenate([-offsets / 2, offsets / 2])
        kernel = np.zeros((features.shape[1], num_classes))  # (D, C)
        kernel[:, regression.classes_] = rows.T * scale[:, None]
        seen = offsets - mean @ kernel[:, regression.classes_]
        bias = np.full(num_classes, seen.min() - _NEVER)  # a class that no training image has
        bias[regression.classes_] = seen
        return _Solution(
            kernel.astype("float32"), bias.astype("float32"), int(regression.n_iter_.max())
        )

    return solve


def _fit(solution: _Solution, features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on the training features."""
    logits = (features @ solution.kernel + solution.bias).astype("float64")  # (N, C)
    highest = logits.max(axis=1)
    own = logits[np.arange(len(labels)), labels]
    losses = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)) - own
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())
