"""Parallel micro-batches: on a CPU each core computes its own images.

The operations of a block are short. Cores that share each operation lose much time waiting for the
last core. `single_threaded_ops` also gives each operation one thread.

A graph for one image splits its patches into two halves (`split_patches`), which share only keys
and values. Without the split, TensorFlow gives a product with few rows to a single thread.

The number of micro-batches depends on the images and the precision, but not on the number of cores.
Every machine therefore computes the same micro-batches.
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

    The split is for a graph that classifies one image in float32. Four parts are slower than two.
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
    """Let `keeps_maps` return true on a CPU while a loop over micro-batches is traced."""
    token = _parts_traced.set(cpu_alone())
    try:
        yield
    finally:
        _parts_traced.reset(token)


def keeps_maps(maps: tf.Tensor) -> bool:
    """Whether a block keeps its three attention maps, ``(B, H, N, N)`` each, for the gradient.

    Otherwise the gradient computes the maps again. A block keeps maps in float32 or float64, inside
    a loop over micro-batches, up to `thresholds.MOST_BYTES_OF_MAPS`. In half precision, kept maps
    would take a larger share of a step's memory.
    """
    elements = maps.shape.num_elements()
    if not _parts_traced.get() or elements is None or maps.dtype not in (tf.float32, tf.float64):
        return False
    return 3 * elements * maps.dtype.size <= thresholds.MOST_BYTES_OF_MAPS


def infer(model: Callable, images: Any, parts: int | None = None) -> Any:
    """Return ``model(images, training=False)``, compiled. On a CPU, use parallel micro-batches.

    Args:
        model: returns tensors in any structure; the first axis of each tensor is the images.
        images: (B, h, w, 3).
        parts: number of micro-batches, a divisor of B. `None`: 1, or on a CPU the fastest number.
    """
    parts = parts or _parts(model, images, training=False)
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
    """Return the number of micro-batches for training on ``(B, h, w, 3)``: 1 except on a CPU."""
    return _parts(model, images, training=True)


def micro_batch_count(images: int, patches: int, *, training: bool, half: bool) -> int:
    """Return the number of equal micro-batches on a CPU.

    Args:
        images: number of images in the batch.
        patches: number of patches per image.
        training: whether the batch is for training; else it is for inference.
        half: whether the model computes in half precision.
    """
    pairs = images * patches**2 // thresholds.LEAST_PAIRS[half]
    most = min(images, max(images * patches // thresholds.LEAST_PATCHES[training], pairs))
    return max((n for n in range(1, most + 1) if images % n == 0), default=1)


def concurrent_micro_batches(parts: int) -> int:
    """Return how many micro-batches run at a time: at most one per core on a CPU, else 1."""
    return min(parts, _cores()) if cpu_alone() else 1


def single_threaded_ops(parts: int) -> bool:
    """Give each operation of this process one thread, if the micro-batches keep every core busy.

    TensorFlow accepts the number of threads only before it starts, and keeps it for the whole
    process. The function changes nothing after the start, with a GPU, or if the number of threads
    was set already.

    Returns:
        Whether there is no GPU, the micro-batches keep every core busy, and TensorFlow's own setting is
        one thread. The environment variable ``TF_NUM_INTRAOP_THREADS`` is not part of this setting.
    """
    cores, threads = _cores(), tf.config.threading
    # With two micro-batches per core or more, idle cores in the last round cost little.
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
    shape: Any = getattr(images, "shape", ())
    known = len(shape) == 4 and None not in shape[:3]
    if patch is None or not known or tf.executing_eagerly() or not cpu_alone():
        return 1
    patches = (shape[1] // patch) * (shape[2] // patch)
    half = tf.as_dtype(getattr(backbone, "compute_dtype", "float32")).size == 2
    return micro_batch_count(shape[0], patches, training=training, half=half)


def _cores() -> int:
    """Return TensorFlow's number of inter-op threads if set, else this process's cores."""
    given = os.environ.get("TF_NUM_INTEROP_THREADS", "")
    return (
        tf.config.threading.get_inter_op_parallelism_threads()
        or (int(given) if given.isdigit() else 0)
        or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
        or 1
    )
