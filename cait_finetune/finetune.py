"""The story of a run, from the configuration to a checked SavedModel."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import keras
from omegaconf import OmegaConf
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.pipeline import encoded_images, evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing, decode
from cait_finetune.data.source import open_source
from cait_finetune.evaluation import Evaluator
from cait_finetune.export.saved_model import export_saved_model
from cait_finetune.metrics import MetricsLog
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import Parameter, parameter_table, summary, write_csv
from cait_finetune.optim.schedule import build_schedule
from cait_finetune.report.curves import draw_curves
from cait_finetune.run_directory import RunDirectory
from cait_finetune.train.checkpoint import Checkpoints
from cait_finetune.train.distribution import build_strategy
from cait_finetune.train.loop import train
from cait_finetune.train.loss_scale import LossScale
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

    with strategy.scope():
        model = models.build(config.model, num_classes, config.train.precision)
        table = parameter_table(
            model, config.tuning.method, config.optimizer.layer_decay, config.optimizer.weight_decay
        )
        optimizer = AdamW(table, config.optimizer)
        loss_scale = LossScale() if config.train.precision == "mixed_float16" else None
    console.print(
        f"model  {config.model.name}: {model.count_params():,} parameters, weights "
        f"{model.loading_report or 'random'}",
        highlight=False,
    )
    OmegaConf.save(OmegaConf.structured(config), run.config)
    write_csv(table, run.parameters)
    console.print(_summary_table(table, config))

    steps_per_epoch = math.ceil(source.sizes["train"] / config.train.batch_size)
    schedule = build_schedule(
        config.schedule, config.optimizer.base_lr, steps_per_epoch, config.train.epochs
    )
    corrupt = CorruptImages(config.dataset.on_corrupt)
    validation = evaluation_batches(
        source,
        "validation",
        preprocessing,
        config.train.eval_batch_size,
        corrupt,
        config.dataset.cache,
    )
    evaluator = Evaluator(model)

    def validate() -> dict[str, float]:
        figures = evaluator(corrupt.guard(validation))
        return {"loss": figures.loss, "top1": figures.top1, "top5": figures.top5}

    metrics = MetricsLog(run.metrics)
    checkpoints = Checkpoints(
        run.checkpoints, {"model": config.model.name, "classes": "\n".join(source.class_names)}
    )
    training = train(
        model,
        TrainStep(
            model,
            optimizer,
            strategy,
            config.train.label_smoothing,
            config.train.clip_norm,
            loss_scale,
            config.train.jit_compile,
        ),
        corrupt.guard(
            train_batches(
                source,
                config.dataset,
                config.augment,
                preprocessing,
                config.train.batch_size,
                config.seed,
                corrupt,
            )
        ),
        schedule,
        steps_per_epoch,
        config.train,
        validate,
        checkpoints,
        metrics.write,
        console,
    )

    # What is scored and exported is float32, whatever the training's precision was.
    if config.train.precision != "float32":
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


def _summary_table(table: list[Parameter], config: Config) -> Table:
    """The parameter table by group, first and last groups only when there are many."""
    shown = Table(title=f"what is trained ({config.tuning.method}); all of it: parameters.csv")
    for column in ("group", "variables", "trained", "of", "multiplier", "peak learning rate"):
        shown.add_column(column, justify="right")
    rows = summary(table, config.optimizer.base_lr)
    if len(rows) > 9:
        rows = [*rows[:3], ("…",) * 6, *rows[-4:]]
    for row in rows:
        shown.add_row(*row)
    return shown
