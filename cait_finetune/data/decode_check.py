"""Validation and test images decoded once before training, where that is cheap beside it."""

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

_SHARE = 1 / 20  # of the training that the check may cost
_SHORTEST = 20.0  # seconds: the shortest run, most of which is tracing and compiling
_FEW = 256  # images that are always decoded: they take a fraction of a second

# Operations a second at most: a core with two AVX-512 units at 4 GHz in float32, an accelerator.
_CORE, _ACCELERATOR = 2.5e11, 5e15


def check_decoding(
    passes: Mapping[str, Iterable[Any]],
    sizes: Mapping[str, int],
    *,
    trained: int,
    least_seconds: float = 0.0,
    console: Console | None = None,
) -> None:
    """Go through the images of validation and test, so that a corrupt one is met before training.

    The check costs at most a twentieth of the training. Training decodes `trained` images, so that a
    twentieth as many are always cheap enough, and so are a few hundred. More of them are decoded until a
    twentieth of `least_seconds` is over, or of 20 s, which the shortest run takes.

    Args:
        passes: the guarded batches of each split, as the run will evaluate them: it uses the graph that
            is traced here, and batches that are kept.
        sizes: images of each split.
        trained: how many images are decoded in training, an image counted each time.
        least_seconds: what training takes at least (`least_training_seconds`).
        console: where a progress bar is shown. `None`: standard error.

    Raises:
        UserError: a corrupt image, if the run stops at one; or every image of a split is corrupt.
    """
    total = sum(sizes[split] for split in passes)
    ends = math.inf if total <= max(_FEW, _SHARE * trained) else None
    done = 0
    with progress_bar("decoding validation and test", total, console) as advance:
        for _, _, real in itertools.chain.from_iterable(passes.values()):
            images = int(real.numpy().sum())
            done += images
            advance(images)
            if ends is None:  # from here, as tracing takes the longer the busier a machine is
                ends = time.perf_counter() + _SHARE * max(_SHORTEST, least_seconds)
            elif time.perf_counter() > ends:
                logger.debug("%d of %d images decoded before training", done, total)
                return


def least_training_seconds(parameters: int, tokens: int, images: int) -> float:
    """Return a lower bound of the seconds that training takes, by the products of its forward pass.

    Args:
        parameters: of the model, each of which is multiplied once a token.
        tokens: of an image.
        images: how many are trained on, an image counted each time.
    """
    accelerators = len(tf.config.list_logical_devices("GPU")) + len(
        tf.config.list_logical_devices("TPU")
    )
    speed = accelerators * _ACCELERATOR or (os.cpu_count() or 1) * _CORE
    return 2.0 * parameters * tokens * images / speed
