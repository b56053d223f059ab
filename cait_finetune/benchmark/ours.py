"""Our side of a comparison: what a run builds, from the configuration that a run has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cait_finetune import model as models
from cait_finetune.benchmark import products
from cait_finetune.benchmark.peak import SIZES, fastest
from cait_finetune.benchmark.task import CLASSES, PRODUCTS, Task, cores
from cait_finetune.cli.hydra_app import configure
from cait_finetune.config import Config
from cait_finetune.data.preprocess import configured
from cait_finetune.export.saved_model import export_saved_model
from cait_finetune.optim.phases import phases
from cait_finetune.runtime.threads import share_cores
from cait_finetune.scores.evaluation import build_evaluator
from cait_finetune.train.distribution import build_strategy
from cait_finetune.train.loss import build_loss
from cait_finetune.workflow.phases import Stages
from cait_tf.fused.tensorflow import single_threaded_ops

_RATE = 1e-5  # low enough that any number of steps stays finite


def prepare(task: Task) -> Callable[[], object]:
    """A function that does the task once, and waits for the result."""
    config = configure(*task.words)
    if task.work != "latency":
        share_cores(config, task.variant)
    elif task.single_threaded:
        single_threaded_ops(len(cores()))
    if task.work in PRODUCTS:
        return products.prepare(task)
    strategy = build_strategy(config.distribution)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        classes = [str(label) for label in range(CLASSES)]
        model = models.build(config.model, classes, config.train.precision)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(task.batch_size, task.size, task.size, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, CLASSES, task.batch_size), tf.int32)
    if task.work == "training":
        return _training(config, model, strategy, images, labels)
    if task.work == "inference":
        # As `evaluate` does it, accuracy included.
        evaluator = build_evaluator(model, False, strategy)
        batches = [(images, labels, tf.fill([task.batch_size], True))]
        return lambda: evaluator(batches)
    return _latency(config, model, images)


def _training(
    config: Config,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    images: tf.Tensor,
    labels: tf.Tensor,
) -> Callable[[], object]:
    """A run's own step, with its clipping and its label smoothing."""
    steps = 1_000_000
    stages = Stages(
        config,
        model,
        strategy,
        build_loss(config.loss, config.train.label_smoothing),
        phases(model, config.tuning, config.optimizer, steps, steps),
        lambda _: model,
        steps,
        lambda _: lambda _: _RATE,
    )
    [build] = stages.unfinished(0)
    step, rates = build().step, tf.constant([_RATE])
    return lambda: step(images, labels, rates).numpy()


def _latency(config: Config, model: keras.Model, images: tf.Tensor) -> Callable[[], object]:
    """The SavedModel of an export, asked for logits of normalised images.

    It works on an image in two halves side by side, whose operations are too short to be shared out
    among threads, too.
    """
    variant = models.check(config.model)
    way = configured(config.preprocessing, variant, config.model.image_size, upright=True)
    noise = np.random.default_rng(0).integers(0, 256, (way.image_size, way.image_size, 3))
    sample = tf.io.encode_png(tf.constant(noise, tf.uint8)).numpy()
    names = [str(number) for number in range(CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved_model"
        export_saved_model(model, way, way.decode, names, [("noise", sample)], path)
        loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["images"]

    def ask(_keep: object = loaded) -> np.ndarray:  # a signature alone does not keep its variables
        return signature(images=images)["logits"].numpy()

    return ask


def product_peak(precision: str, seconds: float = 1.0) -> float:
    """The most floating-point operations a second of matrix products on this machine: of one, with as
    many threads as an operation has in this process, or of one for each core.

    Args:
        seconds: how long each size and number is tried.
    """
    dtype = tf.bfloat16 if precision == "mixed_bfloat16" else tf.float32

    @tf.function(autograph=False)
    def products(factor: tf.Tensor, count: int) -> tf.Tensor:
        return tf.map_fn(
            lambda _: tf.reduce_max(tf.matmul(factor, factor)[:1]),
            tf.range(count),
            parallel_iterations=count,
            fn_output_signature=dtype,
        )

    def of(size: int, count: int) -> float:
        factor = tf.cast(tf.random.normal([size, size]), dtype)
        return fastest(lambda: products(factor, count).numpy(), count * 2 * size**3, seconds)

    return max(of(size, count) for size in SIZES for count in {1, len(cores())})
