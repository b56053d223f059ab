"""The story of a run, from the configuration to a checked SavedModel."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import keras
import tensorflow as tf
from omegaconf import OmegaConf
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.feature_cache import FeatureCache
from cait_finetune.data.features import FrozenFeatures
from cait_finetune.data.pipeline import encoded_images, evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing, decode
from cait_finetune.data.source import open_source
from cait_finetune.evaluation import Evaluator
from cait_finetune.export.saved_model import export_saved_model
from cait_finetune.metrics import MetricsLog
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import summary, write_csv
from cait_finetune.optim.phases import Phase, phases
from cait_finetune.optim.schedule import build_schedule
from cait_finetune.report.curves import draw_curves
from cait_finetune.run_directory import RunDirectory
from cait_finetune.train.checkpoint import Checkpoints
from cait_finetune.train.distribution import build_strategy
from cait_finetune.train.loop import train
from cait_finetune.train.loss_scale import LossScale
from cait_finetune.train.solver import solve_head
from cait_finetune.train.step import TrainStep


def finetune(config: Config, directory: Path) -> dict:
    """Fine-tune as configured, and leave everything in `directory`.

    Returns:
        What ``result.json`` holds.

    Raises:
        UserError: anything that the user can mend; what was finished is kept.
    """
    started = time.perf_counter()
    console = Console(soft_wrap=True)
    handler = RichHandler(console=console, show_time=False, show_path=False)
    logging.getLogger("cait_finetune").handlers = [handler]

    # Everything that can be wrong, before anything long.
    variant = models.check(config.model)
    strategy = build_strategy(config.distribution)
    run = RunDirectory(directory)
    run.create()
    keras.utils.set_random_seed(config.seed)

    source = open_source(config.dataset)
    num_classes = len(source.class_names)
    preprocessing = Preprocessing(
        image_size=config.model.image_size or variant.image_size,
        crop_pct=variant.crop_pct,
        interpolation=variant.interpolation,
        mean=variant.mean,
        std=variant.std,
    )
    console.print(
        f"data   {config.dataset.name}: {num_classes} classes, "
        + ", ".join(f"{size:,} {role}" for role, size in source.sizes.items()),
        highlight=False,
    )

    steps_per_epoch = math.ceil(source.sizes["train"] / config.train.batch_size)
    with strategy.scope():
        model = models.build(config.model, num_classes, config.train.precision)
        models.adapt(model, config.tuning)
        planned = phases(
            model,
            config.tuning,
            config.optimizer,
            steps_per_epoch * config.train.epochs,
            steps_per_epoch,
        )
        loss_scale = LossScale() if config.train.precision == "mixed_float16" else None
    console.print(
        f"model  {config.model.name}: {model.count_params():,} parameters, weights "
        f"{model.loading_report or 'random'}",
        highlight=False,
    )
    OmegaConf.save(OmegaConf.structured(config), run.config)
    write_csv({phase.name: phase.table for phase in planned}, run.parameters)
    for phase in planned:
        console.print(_summary_table(phase, config))

    corrupt = CorruptImages(config.dataset.on_corrupt)
    cached = bool(config.tuning.cache_features)
    if cached:
        cache_dir = config.tuning.cache_dir
        features = FrozenFeatures(
            source,
            preprocessing,
            model.backbone,
            models.backbone_facts(model, config.model),
            FeatureCache(Path(cache_dir).expanduser()) if cache_dir else None,
            corrupt,
            config.train.eval_batch_size,
            console,
        )
        batches = features.train_batches(config.train.batch_size, config.seed)
        validation = features.evaluation_batches("validation", config.train.eval_batch_size)
    else:
        batches = train_batches(
            source,
            config.dataset,
            config.augment,
            preprocessing,
            config.train.batch_size,
            config.seed,
            corrupt,
        )
        validation = evaluation_batches(
            source,
            "validation",
            preprocessing,
            config.train.eval_batch_size,
            corrupt,
            config.dataset.cache,
        )
    evaluator = Evaluator(models.Head(model) if cached else model)
    steps = PhasedStep(planned, model, config, strategy, loss_scale, steps_per_epoch, cached)

    def validate() -> dict[str, float]:
        figures = evaluator(corrupt.guard(validation))
        return {"loss": figures.loss, "top1": figures.top1, "top5": figures.top5}

    metrics = MetricsLog(run.metrics)
    checkpoints = Checkpoints(
        run.checkpoints, {"model": config.model.name, "classes": "\n".join(source.class_names)}
    )
    if config.tuning.solver == "lbfgs":
        solved = features("train")
        training = solve_head(
            model, solved.values, solved.labels, validate, checkpoints, metrics.write, console
        )
    else:
        training = train(
            model,
            steps,
            corrupt.guard(batches),
            steps.learning_rate,
            steps_per_epoch,
            config.train,
            validate,
            checkpoints,
            metrics.write,
            console,
        )

    # What is scored and exported is float32 and plain, whatever the training's precision was.
    if config.train.precision != "float32" or config.tuning.method == "lora":
        model = models.build(config.model, num_classes, "float32", load=False)
    evaluator = Evaluator(model)
    checkpoints.load(model, checkpoints.best)
    test_batches = evaluation_batches(
        source, "test", preprocessing, config.train.eval_batch_size, corrupt
    )
    test = evaluator(corrupt.guard(test_batches))
    draw_curves(
        metrics.read("step"),
        metrics.read("epoch"),
        f"{config.dataset.name}, {config.model.name}: test top-1 {test.top1:.2%}",
        run.curves,
    )
    difference = None
    if config.export.enabled:
        samples = encoded_images(source, "validation", config.export.check_images, corrupt)
        difference = export_saved_model(
            model, preprocessing, decode, source.class_names, samples, run.saved_model
        )
        console.print(
            f"export checked on {len(samples)} validation images: same top-1, "
            f"largest difference {difference:.1e}",
            highlight=False,
        )

    result = {
        "test_top1": test.top1,
        "test_top5": test.top5,
        "test_loss": test.loss,
        "test_examples": test.examples,
        "validation_top1": training.best_top1,
        "best_epoch": training.best_epoch,
        "wall_seconds": time.perf_counter() - started,
        "images_per_second": training.images_per_second,
        "corrupt_images": corrupt.ids,
        "export_max_difference": difference,
        "best_checkpoint": str(checkpoints.best),
        "last_checkpoint": str(checkpoints.last),
        "saved_model": str(run.saved_model) if config.export.enabled else None,
        "curves": str(run.curves),
    }
    run.write_result(result)
    skipped = f", {len(corrupt)} corrupt images left out" if len(corrupt) else ""
    console.print(
        f"test   top-1 {test.top1:.2%}, top-5 {test.top5:.2%} on {test.examples:,} images "
        f"(best epoch {training.best_epoch}){skipped}; "
        f"{result['wall_seconds']:.0f} s, {training.images_per_second:.0f} img/s",
        highlight=False,
    )
    console.print(f"run    {run.root}", highlight=False)
    return result


def _summary_table(phase: Phase, config: Config) -> Table:
    """The parameter table by group, first and last groups only when there are many."""
    shown = Table(title=f"what is trained ({phase.name}); all of it: parameters.csv")
    for column in ("group", "variables", "trained", "of", "multiplier", "peak learning rate"):
        shown.add_column(column, justify="right")
    rows = summary(phase.table, config.optimizer.base_lr)
    if len(rows) > 9:
        rows = [*rows[:3], ("…",) * 6, *rows[-4:]]
    for row in rows:
        shown.add_row(*row)
    return shown


class PhasedStep:
    """The training step of every phase in turn, and the learning rate of each step."""

    def __init__(
        self,
        planned: list[Phase],
        model: keras.Model,
        config: Config,
        strategy: tf.distribute.Strategy,
        loss_scale: LossScale | None,
        steps_per_epoch: int,
        on_features: bool,
    ) -> None:
        self._planned = planned
        self._model = model
        self._config = config
        self._strategy = strategy
        self._loss_scale = loss_scale
        self._steps_per_epoch = steps_per_epoch
        self._on_features = on_features
        self._number = 0

    def learning_rate(self, number: int) -> float:
        """Of a step counted from 0."""
        phase = [one for one in self._planned if one.first_step <= number][-1]
        schedule = build_schedule(
            self._config.schedule,
            self._config.optimizer.base_lr,
            self._steps_per_epoch,
            phase.steps // self._steps_per_epoch,
        )
        return schedule(number - phase.first_step)

    def __call__(self, *batch: tf.Tensor) -> dict[str, tf.Tensor]:
        for phase in self._planned:
            if phase.first_step == self._number:
                self._step = self._begin(phase)
        self._number += 1
        return self._step(*batch)

    def _begin(self, phase: Phase) -> TrainStep:
        trained = self._model
        if self._on_features:
            trained = models.Head(self._model)
        elif phase.head_only:
            trained = models.FrozenBackbone(self._model)
        with self._strategy.scope():
            optimizer = AdamW(phase.table, self._config.optimizer)
        train = self._config.train
        return TrainStep(
            trained,
            optimizer,
            self._strategy,
            train.label_smoothing,
            train.clip_norm,
            self._loss_scale,
            train.jit_compile,
        )
