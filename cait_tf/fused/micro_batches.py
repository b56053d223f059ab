"""Micro-batches in parallel: on a CPU each core works on images of its own.

The operations of a block are short: several cores lose much of their time in sharing each operation and
waiting for the last core. `single_threaded_ops` gives each operation one thread besides.

A graph for one image splits its patches into two halves (`split_patches`), which share keys and values only:
TensorFlow gives a product of few rows to a single thread.

The number of micro-batches depends on the images and the precision, and not on the number of cores. Every
machine adds up the same sums.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from cait_tf.fused import thresholds
from cait_tf.fused.compiled import compiled_inference, cpu_alone
from cait_tf.fused.hoisting import hoisted_weights

_INTRA_OP = "TF_NUM_INTRAOP_THREADS"

_halves = ContextVar("split_patches", default=False)
_parts_traced = ContextVar("tracing_micro_batches", default=False)


@contextlib.contextmanager
def split_patches() -> Iterator[None]:
    """Trace inference with two halves of the patches in parallel, in every block.

    For a graph that answers for one image, in float32. Four parts are slower than two.
    """
    token = _halves.set(True)
    try:
        yield
    finally:
        _halves.reset(token)


def splits_patches() -> bool:
    """Whether inference is being traced inside `split_patches`."""
    return _halves.get()


@contextlib.contextmanager
def tracing_micro_batches() -> Iterator[None]:
    """Let `keeps_maps` be true on a CPU while a loop over micro-batches is traced."""
    token = _parts_traced.set(cpu_alone())
    try:
        yield
    finally:
        _parts_traced.reset(token)


def keeps_maps(maps: tf.Tensor) -> bool:
    """Whether a block keeps its three attention maps, ``(B, H, N, N)`` each, for the gradient.

    Otherwise they are computed again. They are kept in float32, inside a loop over micro-batches, up to
    `thresholds.MOST_BYTES_OF_MAPS`. In half precision they would be a larger share of a step's memory.
    """
    elements = maps.shape.num_elements()
    if not _parts_traced.get() or elements is None or maps.dtype not in (tf.float32, tf.float64):
        return False
    return 3 * elements * maps.dtype.size <= thresholds.MOST_BYTES_OF_MAPS


def infer(model: Callable, images: Any) -> Any:
    """Return ``model(images, training=False)``, compiled; on a CPU in parallel micro-batches.

    Args:
        model: returns tensors whose first axis is the images, in any structure.
        images: (B, h, w, 3).
    """
    parts = _parts(model, images, training=False)
    with compiled_inference():
        if parts == 1:
            return model(images, training=False)
        of_part = tf.function(lambda part: model(part, training=False), autograph=False)
        divided = tf.reshape(images, [parts, images.shape[0] // parts, *images.shape[1:]])
        with hoisted_weights():
            traced = of_part.get_concrete_function(tf.TensorSpec(divided.shape[1:], divided.dtype))
    results = tf.map_fn(
        traced,
        divided,
        parallel_iterations=concurrent_micro_batches(parts),
        fn_output_signature=tf.nest.map_structure(
            lambda one: tf.TensorSpec(one.shape, one.dtype), traced.structured_outputs
        ),
    )
    return tf.nest.map_structure(lambda one: tf.reshape(one, [-1, *one.shape[2:]]), results)


def training_micro_batches(model: Callable, images: tf.Tensor) -> int:
    """The number of micro-batches of a training step on ``(B, h, w, 3)``: 1 except on a CPU."""
    return _parts(model, images, training=True)


def micro_batch_count(images: int, patches: int, *, training: bool, half: bool) -> int:
    """The number of equal micro-batches on a CPU.

    Args:
        images: in the batch.
        patches: of an image.
        half: whether the model computes in half precision.
    """
    pairs = images * patches**2 // thresholds.LEAST_PAIRS[half]
    most = min(images, max(images * patches // thresholds.LEAST_PATCHES[training], pairs))
    return max((n for n in range(1, most + 1) if images % n == 0), default=1)


def concurrent_micro_batches(parts: int) -> int:
    """The number of micro-batches that run at a time: the number of cores on a CPU, else 1."""
    return min(parts, _cores()) if cpu_alone() else 1


def single_threaded_ops(parts: int) -> bool:
    """Give each operation of this process one thread, if the micro-batches keep every core busy.

    TensorFlow accepts that only before it starts, and for the life of the process. Nothing changes later,
    with a GPU, or where the number of threads was chosen already.

    Returns:
        Whether each operation has one thread.
    """
    cores, threads = _cores(), tf.config.threading
    # A round of fewer parts than cores, after several full ones, costs little.
    busy = parts >= cores > 1 and (parts % cores == 0 or parts >= 2 * cores)
    if not busy or tf.config.list_physical_devices("GPU"):
        return False
    if not (threads.get_intra_op_parallelism_threads() or os.environ.get(_INTRA_OP)):
        with contextlib.suppress(RuntimeError):
            threads.set_intra_op_parallelism_threads(1)
    return threads.get_intra_op_parallelism_threads() == 1


def _parts(model: Callable, images: Any, training: bool) -> int:
    backbone = getattr(model, "backbone", model)
    patch = getattr(backbone, "patch_size", None)
    shape = getattr(images, "shape", ())
    known = len(shape) == 4 and None not in shape[:3]
    if patch is None or not known or tf.executing_eagerly() or not cpu_alone():
        return 1
    patches = (shape[1] // patch) * (shape[2] // patch)
    half = tf.as_dtype(getattr(backbone, "compute_dtype", "float32")).size == 2
    return micro_batch_count(shape[0], patches, training=training, half=half)


def _cores() -> int:
    """Those that this process may use, or the threads that TensorFlow was given for them."""
    given = os.environ.get("TF_NUM_INTEROP_THREADS", "")
    return (
        tf.config.threading.get_inter_op_parallelism_threads()
        or (int(given) if given.isdigit() else 0)
        or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
        or 1
    )
