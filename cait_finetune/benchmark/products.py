"""The matrix products of a trunk alone: what would be left if all between them took nothing."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cait_finetune.benchmark.task import Task
from cait_tf.fused.tensorflow import concurrent_micro_batches, micro_batch_count

_MIXINGS = 2  # of heads, before and after the softmax


def prepare(task: Task) -> Callable[[], object]:
    """A function that makes those of all trunk blocks once: one after the other, as TensorFlow does,
    for each of the parts that a batch is taken in, as many side by side.

    For ``training_products`` also the two that the gradients of each take, and none that a model may
    compute again.

    Shapes: B images, N patches, D channels, H heads, d = D / H.
    """
    variant, dtype = task.variant, tf.float32 if task.precision == "float32" else tf.bfloat16
    width, heads = variant.embed_dim, variant.num_heads
    patches = variant.patches(task.size)
    training = task.work == "training_products"
    half = dtype == tf.bfloat16
    parts = micro_batch_count(task.batch_size, patches, training=training, half=half)
    images = task.batch_size // parts  # of a part
    hidden = int(width * variant.mlp_ratio)

    def draw(*shape: int) -> tf.Tensor:
        return tf.cast(tf.random.normal(shape), dtype)

    rows, inner = draw(images * patches, width), draw(images * patches, hidden)
    query = draw(images, heads, patches, width // heads)  # (B, H, N, d), and so are keys and values
    maps = draw(images, heads, patches, patches)  # (B, H, N, N)
    flat = tf.reshape(maps, [images, heads, patches * patches])
    factors = [
        (rows, draw(width, 3 * width)),  # queries, keys and values
        *[(draw(heads, heads), flat)] * _MIXINGS,
        (maps, query),  # with the values
        (rows, draw(width, width)),
        (rows, draw(width, hidden)),
        (inner, draw(hidden, width)),
    ]

    def block(query: tf.Tensor, factors: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        made: list[tf.Tensor] = []

        def product(left: tf.Tensor, right: tf.Tensor, **turned: bool) -> tf.Tensor:
            # In the model each waits for the one before.
            with tf.control_dependencies(made[-1:]):
                made.append(tf.matmul(left, right, **turned))
            return made[-1]

        scores = product(query, query, transpose_b=True)
        results = [product(*pair) for pair in factors]
        if training:
            # A result stands for its own gradient: it has the same shape.
            for (left, right), result in zip(factors, results, strict=True):
                product(result, right, transpose_b=True)
                product(left, result, transpose_a=True)
            product(scores, query)
            product(scores, query, transpose_a=True)
        # What nobody asks for is not made.
        return tf.add_n([tf.cast(tf.reduce_max(one[..., :1, :1]), tf.float32) for one in made])

    @tf.function(autograph=False)
    def whole(query: tf.Tensor, factors: list[tuple[tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        def part(_: tf.Tensor) -> tf.Tensor:
            return tf.while_loop(
                lambda number, _: number < variant.depth,
                lambda number, total: (number + 1, total + block(query, factors)),
                (tf.constant(0), tf.constant(0.0)),
                parallel_iterations=1,
            )[1]

        return tf.map_fn(
            part,
            tf.range(parts),
            parallel_iterations=concurrent_micro_batches(parts),
            fn_output_signature=tf.float32,
        )

    return lambda: whole(query, factors).numpy()
