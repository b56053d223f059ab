"""Decode validation and test images before training, at a small share of the training's cost."""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
from rich.console import Console

from cait_finetune.runtime.progress import progress_bar

logger = logging.getLogger(__name__)

_SHARE = 1 / 20  # of the training time that the check may take
_SHORTEST = 20.0  # seconds of the shortest run, most of which is tracing and compiling
_FEW = 256  # the check decodes all images if there are at most this many

# Upper bounds of operations per second: a core with two AVX-512 units at 4 GHz in float32, and an
# accelerator.
_CORE, _ACCELERATOR = 2.5e11, 5e15


def check_decoding(
    passes: Mapping[str, Iterable[Any]],
    sizes: Mapping[str, int],
    *,
    trained: int,
    least_seconds: float = 0.0,
    console: Console | None = None,
) -> None:
    """Decode the images of validation and test, so that a corrupt image is found before training.

    The check takes about a twentieth of the training time at most. It decodes all images if they
    are at most a twentieth of `trained`, or at most 256. Otherwise it stops after a twentieth of
    `least_seconds`, or of 20 s if `least_seconds` is shorter.

    Args:
        passes: the guarded batches of each split that the run will evaluate. The evaluation reuses
            the graph that the check traces, and the batches that `passes` keep.
        sizes: number of images of each split.
        trained: number of images that training decodes, counted again in each epoch.
        least_seconds: lower bound of the training time (`least_training_seconds`).
        console: console of the progress bar. `None`: standard error.

    Raises:
        UserError: an image is corrupt and `dataset.on_corrupt` is ``stop``, or every image of a
            split is corrupt.
    """
    total = sum(sizes[split] for split in passes)
    ends = math.inf if total <= max(_FEW, _SHARE * trained) else None
    done = 0
    with progress_bar("decoding validation and test", total, console) as advance:
        for _, _, real in itertools.chain.from_iterable(passes.values()):
            images = int(real.numpy().sum())
            done += images
            advance(images)
            if ends is None:  # after the first batch, because the time to trace varies
                ends = time.perf_counter() + _SHARE * max(_SHORTEST, least_seconds)
            elif time.perf_counter() > ends:
                logger.debug("%d of %d images decoded before training", done, total)
                return


def least_training_seconds(parameters: int, tokens: int, images: int) -> float:
    """Return a lower bound of the training time in seconds, from the forward pass's multiplications.

    Args:
        parameters: number of the model's parameters. Each is multiplied once per token.
        tokens: number of tokens per image.
        images: number of images in training, counted again in each epoch.
    """
    accelerators = len(tf.config.list_logical_devices("GPU")) + len(
        tf.config.list_logical_devices("TPU")
    )
    speed = accelerators * _ACCELERATOR or (os.cpu_count() or 1) * _CORE
    return 2.0 * parameters * tokens * images / speed
