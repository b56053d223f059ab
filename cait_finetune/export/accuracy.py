"""Measure how much accuracy a quantised variant of an exported file loses on labelled images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.export.exported_model import ValidationSamples
from cait_finetune.export.parity import Classify, classify_all, unit_of

_CHUNK = 64  # images decoded at a time


def compare_accuracy(
    plain: Classify, variants: Mapping[str, Classify], validation: ValidationSamples
) -> dict[str, dict[str, Any]]:
    """Compare variants of a file with the file itself, in one pass over the labelled images.

    Args:
        plain: classifies with the unquantised file.
        variants: classify with the variants, by name.

    Returns:
        For each variant: ``images``, the number of images; ``metric``, that of
        `Postprocessing.quality`; ``accuracy`` of the variant and ``plain_accuracy`` of the file;
        ``agreement``, the fraction of images where `Postprocessing.agree` is true; and ``difference``,
        the largest absolute difference of a value, in `unit_of`.
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
    after, unit = validation.exported.postprocessing, unit_of(validation.exported.model)
    metric, plain_accuracy = after.quality(of[""], truth)
    return {
        name: {
            "images": len(truth),
            "metric": metric,
            "accuracy": after.quality(of[name], truth)[1],
            "plain_accuracy": plain_accuracy,
            "agreement": float(after.agree(of[name], of[""], unit).mean()),
            "difference": float((np.abs(of[name] - of[""]) / unit).max()),
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
