"""Measure how much accuracy a quantised variant of an exported file loses on labelled images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.parity import Classify, classify_all, top_columns, unit_of
from cait_finetune.scores.postprocessing import Numbers, Postprocessing
from cait_finetune.scores.regression import score_target
from cait_finetune.scores.several_probabilities import SeveralProbabilities

_CLOSE = 0.1  # standard deviations of a target between two numbers that agree
_CHUNK = 64  # images decoded at a time


def compare_accuracy(
    plain: Classify, variants: Mapping[str, Classify], validation: ValidationSamples
) -> dict[str, dict[str, Any]]:
    """Compare variants of a file with the file itself, in one pass over the labelled images.

    Args:
        plain: classifies with the unquantised file.
        variants: classify with the variants, by name.

    Returns:
        For each variant: ``images``, the number of images; ``metric``, ``top1``, for multi-label
        images ``mean_average_precision``, for numbers ``r2``; ``accuracy`` of the variant and ``plain_accuracy`` of the
        file; ``agreement``, the fraction of images with the same top-1 class, or with all
        numbers within 0.1 standard deviations; and ``difference``, the
        largest absolute difference of a probability.
    """
    together = {"": plain, **variants}
    collected: dict[str, list[np.ndarray]] = {name: [] for name in together}
    labels = []
    for images, some in _decoded(validation):
        labels += some
        for name, classify in together.items():
            collected[name].append(classify_all(classify, images))
    truth = np.stack(labels)  # (N,) or (N, C)
    of = {name: np.concatenate(parts) for name, parts in collected.items()}  # (N, C) each
    exported = validation.exported
    measured = _measure(exported.postprocessing)
    unit = unit_of(exported.model)
    return {
        name: {
            "images": len(truth),
            **measured(of[name], of[""], truth, exported),
            "difference": float((np.abs(of[name] - of[""]) / unit).max()),
        }
        for name in variants
    }


def _measure(postprocessing: Postprocessing) -> Callable[..., dict[str, Any]]:
    if isinstance(postprocessing, Numbers):
        return _of_numbers
    return _of_labels if isinstance(postprocessing, SeveralProbabilities) else _of_classes


def _decoded(validation: ValidationSamples) -> Iterator[tuple[list[np.ndarray], list[Any]]]:
    """Yield chunks of decoded images and their labels."""
    decode = tf.function(
        validation.exported.preprocessing.decode,
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
    )
    labelled = iter(validation.labelled())
    while chunk := list(itertools.islice(labelled, _CHUNK)):
        yield [decode(data).numpy() for data, _ in chunk], [label for _, label in chunk]


def _of_classes(
    got: np.ndarray, plain: np.ndarray, truth: np.ndarray, exported: ExportedModel
) -> dict[str, Any]:
    metric, measure = _MEASURES[exported.postprocessing.activation.name]
    return {
        "metric": metric,
        "accuracy": measure(got, truth),
        "plain_accuracy": measure(plain, truth),
        "agreement": float((got.argmax(-1) == plain.argmax(-1)).mean()),
    }


def _of_labels(
    got: np.ndarray, plain: np.ndarray, truth: np.ndarray, exported: ExportedModel
) -> dict[str, Any]:
    choices = exported.postprocessing.choices

    def top1(probabilities: np.ndarray) -> float:
        of_each = []
        for one in choices:
            rows = truth[:, one].any(axis=-1)
            if rows.any():
                classes = truth[rows][:, one].argmax(-1)
                of_each.append(_top1(probabilities[rows][:, one], classes))
        return float(np.mean(of_each))

    same = top_columns(got, choices) == top_columns(plain, choices)  # (N, L)
    return {
        "metric": "top1",
        "accuracy": top1(got),
        "plain_accuracy": top1(plain),
        "agreement": float(same.all(axis=-1).mean()),
    }


def _of_numbers(
    got: np.ndarray, plain: np.ndarray, truth: np.ndarray, exported: ExportedModel
) -> dict[str, Any]:
    def r2(numbers: np.ndarray) -> float:
        pairs = zip(numbers.T, truth.T, strict=True)
        return float(np.mean([score_target(ours, theirs).r2 for ours, theirs in pairs]))

    close = np.abs(got - plain) <= _CLOSE * unit_of(exported.model)
    return {
        "metric": "r2",
        "accuracy": r2(got),
        "plain_accuracy": r2(plain),
        "agreement": float(close.all(axis=-1).mean()),
    }


def _top1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float((probabilities.argmax(-1) == labels).mean())


def _average_precision(probabilities: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    present = labels.sum(axis=0) > 0
    return float(average_precision_score(labels[:, present].astype(int), probabilities[:, present]))


#: The metric of a file, and the function that measures it, by the name of the activation.
_MEASURES = {
    "softmax": ("top1", _top1),
    "sigmoid": ("mean_average_precision", _average_precision),
}
