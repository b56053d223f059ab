"""Parts of a batch side by side: on a CPU each core works on images of its own.

The operations of a block are so short that several cores lose much of their time in sharing each of
them out and waiting for the last. On two, 16 images of cait_xxs24_224 in float32 took 455 ms as a whole
and 375 ms in two halves side by side; their training step 1,650 ms, and 1,500 ms in parts side by
side, 1,310 ms where each operation has a single thread besides (`single_threaded_ops`).

One image goes the same way in two halves of its patches (`split_patches`), which share keys and values
alone: of so few rows TensorFlow gives a product to a single thread.

Counts depend on the images and the precision alone, not on how many cores there are: everywhere the same
sums of the same parts.
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
    """Inference that is traced in here has two halves of the patches side by side, in every block.

    But in half precision, and where attention maps or single blocks are asked for. It is for a graph
    that answers for one image: cait_xxs24_224 takes 47 ms, not 62, and for 16 images 430, not 470. In
    four parts it is slower again.
    """
    token = _halves.set(True)
    try:
        yield
    finally:
        _halves.reset(token)


def splits_patches() -> bool:
    """Whether what is traced now is in `split_patches`."""
    return _halves.get()


@contextlib.contextmanager
def tracing_micro_batches() -> Iterator[None]:
    """Around a loop over parts of a batch while it is traced: on a CPU `keeps_maps` may say yes."""
    token = _parts_traced.set(cpu_alone())
    try:
        yield
    finally:
        _parts_traced.reset(token)


def keeps_maps(maps: tf.Tensor) -> bool:
    """Whether attention's three maps, ``(B, H, N, N)`` each, are kept for the gradient, not computed again.

    In parts of a batch, as many of which are in memory as there are cores. With two, of two images of
    cait_xxs24_224 each, the maps in float32 are .18 GB, a tenth of all that a step takes, of one of
    cait_xxs24_384 each .76 GB of 2.7; they save 5 and 10 % of its time. Not in half precision, in which a
    step is so small that the same is more, nor what of a part and block is more than `thresholds.MOST_BYTES_OF_MAPS`: of
    an image of cait_m36_384 it is 64 MB.
    """
    elements = maps.shape.num_elements()
    if not _parts_traced.get() or elements is None or maps.dtype not in (tf.float32, tf.float64):
        return False
    return 3 * elements * maps.dtype.size <= thresholds.MOST_BYTES_OF_MAPS


def infer(model: Callable, images: Any) -> Any:
    """``model(images, training=False)`` in `compiled_inference`, on a CPU in parts side by side.

    Args:
        model: whose results are tensors with an axis of images in front, in any structure.
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
    """In how many equal parts a training step takes a batch ``(B, h, w, 3)``; 1 but on a CPU."""
    return _parts(model, images, training=True)


def micro_batch_count(images: int, patches: int, *, training: bool, half: bool) -> int:
    """In how many equal parts a CPU takes so many images of so many patches each.

    Args:
        half: whether it computes in half precision.
    """
    pairs = images * patches**2 // thresholds.LEAST_PAIRS[half]
    most = min(images, max(images * patches // thresholds.LEAST_PATCHES[training], pairs))
    return max((n for n in range(1, most + 1) if images % n == 0), default=1)


def concurrent_micro_batches(parts: int) -> int:
    """How many of them are worked on at a time: on a CPU as many as there are cores, elsewhere one."""
    return min(parts, _cores()) if cpu_alone() else 1


def single_threaded_ops(parts: int) -> bool:
    """Give each operation of this process a single thread, if so many parts keep every core busy.

    For the life of the process, and only before TensorFlow has started. After that, with a GPU, and
    where the number of threads has been chosen already, nothing is changed.

    Returns:
        Whether it is so.
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
