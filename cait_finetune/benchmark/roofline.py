"""Count a model's operations from its sizes, and measure the machine's operations per second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cait_finetune.benchmark.task import Task
from cait_tf.variants import Variant

#: Side lengths of the square matrices that a CPU worker multiplies.
SIZES = (1024, 2048, 4096)


def flops_per_second(work: Callable[[], object], operations: float, seconds: float) -> float:
    """Return operations per second of the fastest call within `seconds`.

    Args:
        work: the function to time. It must return only when its result is ready. The first call
            compiles and is not timed.
        operations: number of operations of one call.
        seconds: time limit. At least one call is timed.
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
    """Return the operations of one image.

    The backward pass has two matrix products for each product of the forward pass.
    """
    return (3 if task.work == "training" else 1) * model_flops(task.variant, task.image_size)


def model_flops(
    variant: Variant, image_size: int | Sequence[int] | None = None, num_classes: int = 1000
) -> int:
    """Return the floating-point operations of all matrix products of one image's forward pass.

    A multiplication and an addition are two operations. As in published GMACs, norms, softmax and GELU
    do not count. The fused class attention needs about 1 % fewer operations than this count, because it
    computes neither keys nor values.

    Args:
        image_size: one side or [height, width], in pixels. `None`: the variant's own size.
    """
    d, p, heads = variant.embed_dim, variant.patch_size, variant.num_heads
    n = variant.patches(image_size)
    mlp = 2 * d * int(d * variant.mlp_ratio)  # per token
    embedding = n * 3 * p * p * d
    attention = 2 * n * n * d + 2 * n * n * heads * heads  # QKᵀ and PV, two mixings of heads
    trunk = variant.depth * (n * (4 * d * d + mlp) + attention)
    # The patches have keys and values, but no query, projection or MLP.
    class_attention = 2 * (n + 1) * d * d + 2 * (n + 1) * d + 2 * d * d + mlp
    return 2 * (embedding + trunk + variant.depth_token_only * class_attention + d * num_classes)
