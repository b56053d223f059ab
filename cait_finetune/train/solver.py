"""Solve the head of a linear probe to the optimum, instead of training it in steps."""

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

#: Inverse strengths of the L2 penalty, strongest first. Each solution initialises the next.
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
    """Solve logistic regression by L-BFGS for each L2 penalty; validation decides which is best.

    The penalties take the place of epochs, from strong to weak. The log gets a record for each
    penalty, and the best penalty gets the checkpoint ``best``. The solver uses no label smoothing,
    no schedule and no augmentation.

    Args:
        model: the classifier. Its ``head`` gets each solution in turn, and keeps the last one.
        training: features (N, D) of the training images, and their labels (N,).
        validation: decides which penalty is best.
        logbook: its state gets the best score and the speed.

    Raises:
        OSError: a checkpoint cannot be written.
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
        logbook.end_epoch(epoch=epoch, inverse_penalty=strength, train_loss=loss, train_accuracy=accuracy,
            **{f"validation_{key}": value for key, value in metrics.items()})  # fmt: skip
        if state.stopped:
            break
    state.seconds = state.timed_seconds = time.perf_counter() - started
    state.timed_images = passes * len(labels)


def _solver(
    features: np.ndarray, labels: np.ndarray, num_classes: int
) -> Callable[[float], _Solution]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # Standardise the features, so that the penalty treats all features alike. A lower bound on the
    # deviation keeps nearly constant features small: otherwise rounding errors of the backbone
    # would change the probabilities.
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    size = np.sqrt(np.mean(features**2))
    scale = 1.0 / np.maximum(deviation, max(0.1 * size, 1e-12))
    regression = LogisticRegression(max_iter=_MAX_ITERATIONS, warm_start=True)

    def solve(strength: float) -> _Solution:
        regression.C = strength
        with warnings.catch_warnings():  # the console shows the number of iterations
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit((features - mean) * scale, labels)
        rows, offsets = regression.coef_, regression.intercept_
        if len(rows) == 1:  # with two classes scikit-learn has one row, for the second class
            rows = np.concatenate([-rows / 2, rows / 2])
            offsets = np.concatenate([-offsets / 2, offsets / 2])
        kernel = np.zeros((features.shape[1], num_classes))  # (D, C)
        kernel[:, regression.classes_] = rows.T * scale[:, None]
        seen = offsets - mean @ kernel[:, regression.classes_]
        bias = np.full(num_classes, seen.min() - _NEVER)  # a class without a training image
        bias[regression.classes_] = seen
        return _Solution(
            kernel.astype("float32"), bias.astype("float32"), int(regression.n_iter_.max())
        )

    return solve


def _fit(solution: _Solution, features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on the training features."""
    logits = (features @ solution.kernel + solution.bias).astype("float64")  # (N, C)
    highest = logits.max(axis=1)
    own = logits[np.arange(len(labels)), labels]
    losses = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)) - own
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())
