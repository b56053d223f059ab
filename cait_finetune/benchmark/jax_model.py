"""Our side of a comparison on a GPU: `cait_tf` under Keras' JAX backend, the whole step one XLA program."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
# The contestants share the card: none may take it whole.
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

import jax
import jax.numpy as jnp
import keras
import numpy as np

from cait_finetune.benchmark.peak import fastest
from cait_finetune.benchmark.task import CLASSES, Task
from cait_finetune.errors import bad_value
from cait_tf.models import create_model

_RATE, _WEIGHT_DECAY = 1e-5, 0.05
_SIZES, _QUEUED = (4096, 8192), 4
# XLA tries Triton's kernels for each product of a step that computes its blocks twice: that of
# cait_xxs24_224 was still compiling after five minutes, and takes one with cuBLAS alone.
_REMAT_OPTIONS = {"xla_gpu_enable_triton_gemm": False}
_peak = 0  # bytes, of the program that `prepare` compiled


def prepare(task: Task) -> Callable[[], object]:
    """A function that does the task once, and waits for the result.

    Raises:
        UserError: the task is for a GPU, and JAX sees none.
    """
    if task.device == "gpu" and jax.default_backend() != "gpu":
        raise bad_value("jax", f"version {jax.__version__}, which sees no GPU", "one that does",
                        "pip install 'jax[cuda13]'")  # fmt: skip
    model = create_model(
        task.model, CLASSES, task.image_size, dtype=task.precision, remat=task.remat
    )
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(task.batch_size, task.size, task.size, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, CLASSES, task.batch_size), jnp.int32)
    if task.work == "training":
        options = _REMAT_OPTIONS if task.remat and task.device == "gpu" else None
        return _training(model, images, labels, options)
    return _inference(model, images)


def _training(
    model: keras.Model, images: jax.Array, labels: jax.Array, options: dict[str, Any] | None
) -> Callable[[], object]:
    """Forward, cross-entropy, backward and AdamW with weight decay of all but vectors."""
    optimizer = keras.optimizers.AdamW(_RATE, weight_decay=_WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay([one for one in model.trainable_variables
                                         if len(one.shape) < 2])  # fmt: skip
    optimizer.build(model.trainable_variables)

    def loss(
        trainable: list, rest: list, images: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, list]:
        logits, rest = model.stateless_call(trainable, rest, images, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return jnp.mean(losses), rest

    def step(
        trainable: list, rest: list, slots: list, images: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, Any]:
        differentiate = jax.value_and_grad(loss, has_aux=True)
        (value, rest), gradients = differentiate(trainable, rest, images, labels)
        trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
        return value, (trainable, rest, slots)

    state = tuple(
        [variable.value for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables,
                          optimizer.variables)
    )  # fmt: skip
    function = jax.jit(step, donate_argnums=(0, 1, 2), compiler_options=options)
    program = _compiled(function, *state, images, labels)

    def call() -> float:
        nonlocal state
        value, state = program(*state, images, labels)
        return float(value)

    return call


def _inference(model: keras.Model, images: jax.Array) -> Callable[[], object]:
    def infer(trainable: list, rest: list, images: jax.Array) -> jax.Array:
        return model.stateless_call(trainable, rest, images, training=False)[0]

    weights = [[variable.value for variable in variables]
               for variables in (model.trainable_variables, model.non_trainable_variables)]  # fmt: skip
    program = _compiled(jax.jit(infer), *weights, images)
    return lambda: program(*weights, images).block_until_ready()


def _compiled(function: Any, *inputs: Any) -> Callable:
    """Compile once, and keep how much memory the program takes: its inputs, results and all between.

    The allocator's own peak would be that of the compiler, which tries its kernels out.
    """
    global _peak
    program = function.lower(*inputs).compile()
    sizes = program.memory_analysis()
    _peak = (
        sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        - sizes.alias_size_in_bytes
    )
    return program


def device_memory() -> int:
    """Bytes that the program takes of the card."""
    return _peak


def product_peak(precision: str, seconds: float = 1.0, sizes: Sequence[int] = _SIZES) -> float:
    """The most floating-point operations a second of a matrix product on this machine.

    Args:
        seconds: how long each of the sizes is tried.
        sizes: of the square matrices.
    """
    dtype = jnp.bfloat16 if precision == "mixed_bfloat16" else jnp.float32
    product = jax.jit(jnp.matmul)

    def several(factor: jax.Array) -> None:
        """Queued behind each other, so that the host starts one while the card is at another."""
        jax.block_until_ready([product(factor, factor) for _ in range(_QUEUED)])

    def of(size: int) -> float:
        factor = jax.random.normal(jax.random.key(0), (size, size), dtype)
        return fastest(lambda: several(factor), _QUEUED * 2 * size**3, seconds)

    return max(map(of, sizes))
