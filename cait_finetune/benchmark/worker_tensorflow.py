"""The TensorFlow worker: it builds a run's own step, evaluator, SavedModel or input pipeline."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cait_finetune import model as models
from cait_finetune.benchmark.roofline import SIZES, flops_per_second
from cait_finetune.benchmark.task import CLASSES, InputTask, Task
from cait_finetune.cli.compose import configure
from cait_finetune.config import AugmentConfig, Config, DatasetConfig
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.pipeline import evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing, configured
from cait_finetune.export.saved_model import export_saved_model
from cait_finetune.optim.phases import phases
from cait_finetune.runtime.cores import cores
from cait_finetune.runtime.tuning import configure_process
from cait_finetune.scores.evaluation import Evaluator
from cait_finetune.train.distribution import build_strategy
from cait_finetune.train.loss import class_loss
from cait_finetune.workflow.stages import Stages
from cait_tf.fused.tensorflow import single_threaded_ops

_CROP = AugmentConfig(crop_scale=[0.08, 1.0], crop_ratio=[3 / 4, 4 / 3], flip=0.5)
_AUGMENT = {
    "crop and flip": _CROP,
    "RandAugment and erasing": dataclasses.replace(_CROP, rand_operations=2, erasing=0.25),
}
_RATE = 1e-5  # low enough to keep the loss finite over any number of steps


def prepare(task: Task | InputTask) -> Callable[[], object]:
    """Return a function that executes the task once and waits for the result."""
    if isinstance(task, InputTask):
        return _loader(task)
    config = configure(*task.overrides)
    if task.work != "latency":
        configure_process(config, task.variant)
    elif task.single_threaded:
        single_threaded_ops(len(cores()))
    strategy = build_strategy(config.distribution)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        classes = [str(label) for label in range(CLASSES)]
        model = models.build(config.model, classes, config.train.precision)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.normal(size=(task.batch_size, *task.size, 3)), tf.float32)
    labels = tf.constant(rng.integers(0, CLASSES, task.batch_size), tf.int32)
    if task.work == "training":
        return _training(config, model, strategy, images, labels)
    if task.work == "inference":
        # The evaluator of the command `evaluate`, which computes accuracy too.
        evaluator = Evaluator(model, strategy)
        batches = [(images, labels, tf.fill([task.batch_size], True))]
        return lambda: evaluator(batches)
    return _latency(config, model, images)


def _training(config: Config, model: keras.Model, strategy: tf.distribute.Strategy,
              images: tf.Tensor, labels: tf.Tensor) -> Callable[[], object]:  # fmt: skip
    """Return a function that executes a run's own training step, with clipping and label smoothing."""
    steps = 1_000_000
    stages = Stages(
        config,
        model,
        strategy,
        class_loss(config.loss, config.train.label_smoothing),
        phases(model, config.tuning, config.optimizer, steps, steps),
        lambda _: (model, None),
        steps,
        lambda _: lambda _: _RATE,
    )
    [build] = stages.unfinished(0)
    step, rates = build().step, tf.constant([_RATE])
    return lambda: step(images, labels, rates).numpy()


def _latency(config: Config, model: keras.Model, images: tf.Tensor) -> Callable[[], object]:
    """Return a function that calls an exported SavedModel on normalised images and returns logits."""
    variant = models.check(config.model)
    way = configured(config.preprocessing, variant, config.model.image_size, upright=True)
    noise = np.random.default_rng(0).integers(0, 256, (*way.image_size, 3))
    sample = tf.io.encode_png(tf.constant(noise, tf.uint8)).numpy()
    names = [str(label) for label in range(CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved_model"
        export_saved_model(model, way, way.decode, names, [("noise", sample)], path)
        loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["images"]

    def ask(_keep: object = loaded) -> np.ndarray:  # a signature does not keep the variables alive
        return signature(images=images)["logits"].numpy()

    return ask


def _loader(task: InputTask) -> Callable[[], object]:
    """Return a function that waits for the next batch of a run's input pipeline."""
    paths = sorted(Path(task.root).glob("*/*"))
    classes = sorted({path.parent.name for path in paths})
    names = np.array([str(path) for path in paths])
    labels = np.array([classes.index(path.parent.name) for path in paths], np.int32)
    files = {"train": Files(names, names, labels)}
    source = FileSource(class_names=tuple(classes), sizes={"train": len(paths)}, files=files)
    preprocessing = Preprocessing(task.image_size, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
    shared = (preprocessing, task.batch_size)
    corrupt = CorruptImages("stop")
    if task.augmentation == "evaluation":
        batches = evaluation_batches(source, "train", *shared, corrupt, careful=False)
    else:
        dataset = DatasetConfig(name="benchmark", data_dir=None)
        augment = _AUGMENT[task.augmentation]
        batches = train_batches(source, dataset, augment, *shared, 0, corrupt, careful=False)
    endless = itertools.chain.from_iterable(itertools.repeat(batches))
    return lambda: next(endless)


def matmul_flops(precision: str, seconds: float = 1.0) -> float:
    """Return operations per second of the fastest matrix product in TensorFlow.

    For each matrix size it times one product on all threads, and one product per core in parallel.

    Args:
        precision: a value of ``train.precision``.
        seconds: time limit for each size and each number of parallel products.
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
        return flops_per_second(
            lambda: products(factor, count).numpy(), count * 2 * size**3, seconds
        )

    return max(of(size, count) for size in SIZES for count in {1, len(cores())})
