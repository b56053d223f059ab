"""Operations of a model, counted from its sizes, and operations per second of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

from cait_finetune.benchmark.task import Task
from cait_tf.variants import Variant

#: Sizes of the square matrices that are multiplied on a CPU.
SIZES = (1024, 2048, 4096)


def flops_per_second(work: Callable[[], object], operations: float, seconds: float) -> float:
    """Return operations per second of the fastest call within `seconds`, at least one call.

    Args:
        work: returns when its result is there. The first call, which compiles, does not count.
        operations: of one call.
    """
    work()
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        work()
        end = time.perf_counter()
        best = min(best, end - begin)
        if end > until:
            return operations / best


def task_flops(task: Task) -> int:
    """Return the operations of one image. The backward pass has two products for each of the forward's."""
    return (3 if task.work == "training" else 1) * model_flops(task.variant, task.image_size)


def model_flops(variant: Variant, image_size: int | None = None, num_classes: int = 1000) -> int:
    """Return the floating-point operations of all matrix products of one image's forward pass.

    A multiplication and an addition are two operations. Norms, softmax and GELU do not count, as in
    published GMACs. Ours has 1 % less: class attention forms no keys and values.

    Args:
        image_size: `None`: the variant's own.
    """
    d, p, n, heads = (
        variant.embed_dim,
        variant.patch_size,
        variant.patches(image_size),
        variant.num_heads,
    )
    mlp = 2 * d * int(d * variant.mlp_ratio)  # of one token
    embedding = n * 3 * p * p * d
    attention = 2 * n * n * d + 2 * n * n * heads * heads  # QKᵀ and PV, two mixings of heads
    trunk = variant.depth * (n * (4 * d * d + mlp) + attention)
    # Only the class token has a query, a projection and an MLP.
    class_attention = 2 * (n + 1) * d * d + 2 * (n + 1) * d + 2 * d * d + mlp
    return 2 * (embedding + trunk + variant.depth_token_only * class_attention + d * num_classes)
