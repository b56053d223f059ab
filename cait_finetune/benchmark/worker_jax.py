"""The JAX worker: `cait_tf` on Keras' JAX backend. A step is one XLA program."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
# The workers share the GPU: JAX must not reserve all of its memory.
os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"

import jax
import jax.numpy as jnp
import keras
import numpy as np

from cait_finetune.benchmark.roofline import flops_per_second
from cait_finetune.benchmark.task import CLASSES, Task
from cait_finetune.errors import bad_value
from cait_tf.models import create_model

_RATE, _WEIGHT_DECAY = 1e-5, 0.05
_SIZES, _QUEUED = (4096, 8192), 4
# With remat, XLA tries Triton kernels for each matrix product, and compilation takes too long.
# This option restricts XLA to cuBLAS.
_REMAT_OPTIONS = {"xla_gpu_enable_triton_gemm": False}
_peak = 0  # bytes of GPU memory of the program that `prepare` compiled


def prepare(task: Task) -> Callable[[], object]:
    """Return a function that executes the task once and waits for the result.

    Raises:
        UserError: the task is for a GPU, but JAX sees no GPU.
    """
    if task.device == "gpu" and jax.default_backend() != "gpu":
        raise bad_value("jax", f"version {jax.__version__}, which sees no GPU", "one that does",
                        "Install one with pip install 'jax[cuda13]'.")  # fmt: skip
    model = create_model(
        task.model, CLASSES, task.image_size, dtype=task.precision, remat=task.remat
    )
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(task.batch_size, *task.size, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, CLASSES, task.batch_size), jnp.int32)
    if task.work == "training":
        options = _REMAT_OPTIONS if task.remat and task.device == "gpu" else None
        return _training(model, images, labels, options)
    return _inference(model, images)


def _training(
    model: keras.Model, images: jax.Array, labels: jax.Array, options: dict[str, Any] | None
) -> Callable[[], object]:
    """Return a training step: forward, cross-entropy, backward and AdamW.

    Weight decay applies to all variables except vectors and scalars.
    """
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
    """Compile a function, and store in `_peak` the memory of its inputs, outputs and temporaries.

    The allocator's peak would include the compiler, which runs kernels to choose the fastest.
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
    """Return the bytes of GPU memory that the compiled program needs."""
    return _peak


def matmul_flops(precision: str, seconds: float = 1.0, sizes: Sequence[int] = _SIZES) -> float:
    """Return operations per second of the fastest matrix product.

    Args:
        precision: ``float32`` or ``mixed_bfloat16``.
        seconds: time limit for each size.
        sizes: side lengths of the square matrices.
    """
    dtype = jnp.bfloat16 if precision == "mixed_bfloat16" else jnp.float32
    product = jax.jit(jnp.matmul)

    def several(factor: jax.Array) -> None:
        """Queue several products, so that the GPU does not wait for the host."""
        jax.block_until_ready([product(factor, factor) for _ in range(_QUEUED)])

    def of(size: int) -> float:
        factor = jax.random.normal(jax.random.key(0), (size, size), dtype)
        return flops_per_second(lambda: several(factor), _QUEUED * 2 * size**3, seconds)

    return max(map(of, sizes))
