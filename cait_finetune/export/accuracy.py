"""Measure how much accuracy a quantised variant of an exported file loses on labelled images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.export.exported_model import ValidationSamples
from cait_finetune.export.parity import Classify, classify_all

_CHUNK = 64  # images decoded at a time


def compare_accuracy(
    plain: Classify, variants: Mapping[str, Classify], validation: ValidationSamples
) -> dict[str, dict[str, Any]]:
    """Compare variants of a file with the file itself, in one pass over the labelled images.

    Args:
        plain: classifies with the unquantised file.
        variants: classify with the variants, by name.

    Returns:
        For each variant: ``images``, the number of images; ``metric``, ``top1`` or, for multi-label
        images, ``mean_average_precision``; ``accuracy`` of the variant and ``plain_accuracy`` of the
        file; ``agreement``, the fraction of images with the same top-1 class; and ``difference``, the
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
    metric, measure = _MEASURES[validation.exported.postprocessing.activation.name]
    return {
        name: {
            "images": len(truth),
            "metric": metric,
            "accuracy": measure(of[name], truth),
            "plain_accuracy": measure(of[""], truth),
            "agreement": float((of[name].argmax(-1) == of[""].argmax(-1)).mean()),
            "difference": float(np.abs(of[name] - of[""]).max()),
        }
        for name in variants
    }


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
