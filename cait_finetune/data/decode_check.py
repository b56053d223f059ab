"""Validation and test images decoded once before training, where that is cheap beside it."""

from __future__ import annotations

import functools
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping

import tensorflow as tf
from rich.console import Console

from cait_finetune.data.corrupt import CorruptImages, Guarded
from cait_finetune.data.decode import decode
from cait_finetune.data.progress import progress_bar
from cait_finetune.data.source import Source

logger = logging.getLogger(__name__)

_ROLES = ("validation", "test")
_SHARE = 1 / 20  # of the training that the check may cost
_SHORTEST = 20.0  # seconds: the shortest run, most of which is tracing and compiling
_FEW = 256  # images that are always decoded: they take a fraction of a second
_AT_A_TIME = 64  # images: between them, the time is looked at

# Operations a second at most: a core with two AVX-512 units at 4 GHz in float32, an accelerator.
_CORE, _ACCELERATOR = 2.5e11, 5e15


def check_decoding(
    source: Source,
    corrupt: CorruptImages,
    *,
    trained: int,
    least_seconds: float = 0.0,
    console: Console | None = None,
) -> None:
    """Decode the images of validation and test, so that a corrupt one is met before training.

    The check costs at most a twentieth of the training. Training decodes `trained` images, so that
    a twentieth as many are always cheap enough, and so are a few hundred. More of them are decoded until a twentieth of
    `least_seconds` is over, or of 20 s, which the shortest run takes.

    Args:
        corrupt: what is met is reported to it.
        trained: how many images are decoded in training, an image counted each time.
        least_seconds: what training takes at least (`least_training_seconds`).
        console: where a progress bar is shown. `None`: standard error.

    Raises:
        UserError: a corrupt image, if the run stops at one; or every image of a split is corrupt.
    """
    total = sum(source.sizes[role] for role in _ROLES)
    ends = math.inf if total <= max(_FEW, _SHARE * trained) else None
    done = 0
    with progress_bar("decoding validation and test", total, console) as advance:
        for images in _decoded(source, corrupt):
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


def _decoded(source: Source, corrupt: CorruptImages) -> Iterator[int]:
    """Decode images, some at a time, and yield how many."""
    done = 0
    if not corrupt.ids:
        try:
            for batch in _quickly(source):
                done += len(batch)
                yield len(batch)
            return
        except tf.errors.OpError as error:
            logger.debug("a corrupt image is looked for: %s", error)
    for role in _ROLES:
        left_out = min(done, source.sizes[role])
        done -= left_out
        build = functools.partial(_carefully, source, corrupt, role, left_out)
        for batch in Guarded(corrupt, build, careful=True):
            yield len(batch)


@tf.autograph.experimental.do_not_convert
def _quickly(source: Source) -> tf.data.Dataset:
    """Sizes of the images of both splits; an error at a corrupt one.

    Both splits are in one pipeline: its graph takes longer than the images of a small set.
    """
    records = source.records(_ROLES[0]).concatenate(source.records(_ROLES[1]))
    decodes = functools.partial(_size, source)
    sizes = records.map(decodes, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return sizes.batch(_AT_A_TIME)


@tf.autograph.experimental.do_not_convert
def _carefully(
    source: Source, corrupt: CorruptImages, role: str, skip: int, _careful: bool, _done: int
) -> tf.data.Dataset:
    """Sizes of the images of a split after the first `skip`; corrupt ones are reported."""
    records = source.records(role).skip(skip)
    decodes = functools.partial(_size, source)
    sizes = corrupt.attempt(records, source.sizes[role], decodes, tf.constant(0))
    return sizes.batch(_AT_A_TIME)


def _size(source: Source, record: Mapping[str, tf.Tensor]) -> tf.Tensor:
    # As stored: whether a picture is turned afterwards does not matter, and takes time to trace.
    return tf.size(decode(source.read(dict(record))["image"], upright=False))
