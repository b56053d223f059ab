"""The first chapter of a run: everything that training needs, checked before anything is long."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from omegaconf import OmegaConf
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.decode_check import check_decoding, least_training_seconds
from cait_finetune.data.feature_cache import FeatureCache
from cait_finetune.data.features import FrozenFeatures
from cait_finetune.data.image_cache import ImageCache
from cait_finetune.data.opening import open_source
from cait_finetune.data.preprocess import Preprocessing, configured
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_finetune.export.formats import check as check_export
from cait_finetune.optim.length import Length, run_length
from cait_finetune.optim.parameters import summary, write_csv
from cait_finetune.optim.phases import Phase, phase_lengths, phases
from cait_finetune.optim.schedule import peak_learning_rate
from cait_finetune.runs.command_line import command_line
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.environment import record_environment
from cait_finetune.runs.identity import (
    begin_identity,
    check_state,
    check_weights,
    confirmed,
    run_classes,
)
from cait_finetune.runs.run_id import KEY, check_weights_id, new_run_id, run_id
from cait_finetune.runtime.console import plain_console
from cait_finetune.scores.metrics import MetricsLog
from cait_finetune.train.checkpoint import Checkpoints
from cait_finetune.train.distribution import (
    build_strategy,
    check_batch,
    check_precision,
    device_summary,
    is_chief,
)
from cait_finetune.train.loop import restore
from cait_finetune.train.loss import Loss, build_loss, needs_counts
from cait_finetune.train.run_state import RunState
from cait_finetune.workflow.streams import FAST_BATCHES, Streams, check_pairs
from cait_tf.atomic import write_text
from cait_tf.places import cache_path, warn_not_kept


@dataclass(frozen=True)
class Prepared:
    """A run that is about to train: from its first step, or with `arrays` from where it stopped.

    ``peak`` is the highest learning rate, ``chief`` whether this process is the one that writes,
    ``resumed`` whether an earlier process began it, ``other_images`` whether the state is of other
    images than the run has now.
    """

    strategy: tf.distribute.Strategy
    chief: bool
    console: Console
    run: RunDirectory
    source: Source
    metrics: MetricsLog
    checkpoints: Checkpoints
    state: RunState
    arrays: Mapping[str, np.ndarray] | None
    model: keras.Model
    length: Length
    peak: float
    loss: Loss
    phases: list[Phase]
    streams: Streams
    resumed: bool = False
    other_images: bool = False


def prepare(
    config: Config, directory: Path, strategy: tf.distribute.Strategy | None = None
) -> Prepared:
    """Open the data, build the model, say what will be trained, and begin the run's directory.

    Args:
        strategy: to be used instead of the configured one, where several runs share a process.

    Raises:
        UserError: anything that the user can mend.
    """
    # Everything that can be wrong, before anything long.
    if config.dataset.evaluation_only:
        raise bad_value(
            "dataset",
            f"{config.dataset.name}, which is for evaluation only",
            "a set to train on",
            "score a model on it with python -m cait_finetune evaluate",
        )
    variant = models.check(config.model)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = strategy or build_strategy(config.distribution)
    check_batch(config.train.batch_size, config.train.accumulation or 1, strategy)
    check_pairs(config, strategy)
    check_precision(config.train.precision, strategy)
    check_export(config.export)
    chief = is_chief(strategy)
    console = _console(chief)
    run = RunDirectory(directory)
    if chief and not config.resume:
        run.create()

    source = _open_data(config, run, console)
    _check_names(source.class_names)
    console.print(
        f"data   {config.dataset.name}: {len(source.class_names)} classes, "
        + ", ".join(f"{size:,} {role}" for role, size in source.sizes.items()),
        highlight=False,
    )
    for note in source.notes:
        console.print(note, highlight=False)
    length = run_length(config.train, source.sizes["train"])
    tuning = config.tuning
    if config.debug.mode == "fast_dev_run":  # a step for each phase
        tuning = dataclasses.replace(
            tuning,
            head_epochs=tuning.head_epochs and 1,
            stage_epochs=tuning.stage_epochs and 1,
        )
        length = Length(max(2, tuning.stages or 2), 1)
    blocks = variant.depth + variant.depth_token_only
    phase_lengths(tuning, blocks, length.total_steps, length.steps_per_epoch)  # or it says why not
    metrics = MetricsLog(run.metrics, chief)
    mark = run_id(run) if config.resume else new_run_id()
    checkpoints = Checkpoints(
        run.checkpoints,
        {"model": config.model.name, "classes": "\n".join(source.class_names), KEY: mark},
        config.checkpoint.keep,
        chief,
    )
    state, arrays, other_images = RunState(run=mark), None, False
    if config.resume:
        if chief:
            record_environment(run.environment, device_summary(strategy), begin=False)
            run.keep_data_dir(config.dataset.data_dir)
        arrays, values = checkpoints.load_state()
        state = RunState.from_dict(values)
        now = check_state(run, state.data, state.run)
        state.run = mark  # a state of an earlier version has none
        state.data, other_images = now, state.data not in ("", now)
        state.reconsider(config.train.max_hours, config.train.patience)
        if chief and not state.stopped and state.step < length.total_steps:
            run.unmark_finished()
        metrics.cut(state.log_bytes)

    # Right before the weights are drawn: preparing a data set for the first time draws too.
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = models.build(
            config.model, source.class_names, config.train.precision, load=arrays is None
        )
        models.adapt(model, config.tuning)
    report = model.loading_report
    weights = report or "random"
    if arrays:
        restore(model, None, arrays)
        weights = f"as after step {state.step}"
    console.print(
        f"model  {config.model.name}: {model.count_params():,} parameters, weights {weights}; "
        f"on {device_summary(strategy)}",
        highlight=False,
    )
    peak = peak_learning_rate(config.optimizer, config.train.batch_size)
    planned = phases(model, tuning, config.optimizer, length.total_steps, length.steps_per_epoch)
    if config.resume and arrays is None:
        check_weights(run, report and report.sha256)
    if chief and not config.resume:
        sha256 = report and report.sha256
        state.data = begin_identity(run, source, config.model.weights, sha256, mark).digest
        write_csv({phase.name: phase.table for phase in planned}, run.parameters)
        record_environment(run.environment, device_summary(strategy), begin=True)
        if command := command_line(directory):
            write_text(run.command, f"{command}\n")
        run.write_config(OmegaConf.structured(config))  # last
    for phase in planned:
        console.print(_summary_table(phase, peak))

    preprocessing = configured(
        config.preprocessing, variant, config.model.image_size, config.dataset.upright
    )
    if config.optimizer.lr_batch_size:
        console.print(
            f"lr     {config.optimizer.base_lr:g} × {config.train.batch_size}/"
            f"{config.optimizer.lr_batch_size} = {peak:.3g}",
            highlight=False,
        )
    loss = build_loss(
        config.loss,
        config.train.label_smoothing,
        source.multi_label,
        source.weighted,
        source.class_counts("train") if needs_counts(config.loss) else None,
        source.sizes["train"],
    )
    corrupt = CorruptImages(config.dataset.on_corrupt)
    corrupt.include(source.unreadable)
    kept = config.tuning.cache_features or config.dataset.cache != "none"
    trained = source.sizes["train"] if kept else length.total_steps * config.train.batch_size
    tokens = variant.patches(config.model.image_size)
    least = least_training_seconds(model.count_params(), tokens, trained)
    plain = Streams(source, config, preprocessing, corrupt, strategy)
    if config.dataset.check:
        check_decoding(
            {role: plain.images_of(role) for role in ("validation", "test")},
            source.sizes,
            trained=trained,
            least_seconds=least,
            console=console,
        )
    features = _frozen_features(config, source, preprocessing, model, corrupt, console)
    images = None
    if not features and config.dataset.cache != "none":
        images = ImageCache(source, config.dataset, preprocessing, corrupt, console)
    streams = dataclasses.replace(plain, features=features, images=images)
    return Prepared(
        strategy=strategy,
        chief=chief,
        console=console,
        run=run,
        source=source,
        metrics=metrics,
        checkpoints=checkpoints,
        state=state,
        arrays=arrays,
        model=model,
        length=length,
        peak=peak,
        loss=loss,
        phases=planned,
        streams=streams,
        resumed=bool(config.resume),
        other_images=other_images,
    )


def _open_data(config: Config, run: RunDirectory, console: Console) -> Source:
    """Open the images; those of a resumed run are checked to be the run's.

    Raises:
        UserError: they cannot be found or read; or the run's weights are another run's.
        ChangedData: they are others than the run's.
    """
    if config.resume:
        check_weights_id(run, "resume", run.last_checkpoint, run.best_checkpoint)
    source = open_source(config.dataset)
    if not config.resume:
        return source
    return confirmed(
        run,
        run_classes(run) or source.class_names,
        source,
        "resume",
        config.dataset.accept_changes,
        functools.partial(console.print, highlight=False),
    )


def _check_names(class_names: Sequence[str]) -> None:
    """Checkpoints and exports keep a class name on a line of its own.

    Raises:
        UserError: a name has several lines.
    """
    for name in class_names:
        if "\n" in name or "\r" in name:
            raise bad_value(
                "dataset.class_names",
                repr(name),
                "names of one line",
                "rename the class where the images are listed",
            )


def _console(chief: bool) -> Console:
    """For people and for warnings; the other workers would say the same things again."""
    console = plain_console(quiet=not chief)
    handler = RichHandler(console=console, show_time=False, show_path=False)
    ours = logging.getLogger("cait_finetune")
    ours.handlers, ours.propagate = [handler], False
    return console


def _frozen_features(
    config: Config,
    source: Source,
    preprocessing: Preprocessing,
    model: keras.Model,
    corrupt: CorruptImages,
    console: Console,
) -> FrozenFeatures | None:
    """For a linear probe whose features are computed once."""
    if not config.tuning.cache_features:
        return None
    directory = cache_path(config.tuning.cache_dir) if config.tuning.cache_dir else None
    if config.tuning.cache_dir and not directory:
        warn_not_kept()
    return FrozenFeatures(
        source,
        preprocessing,
        model.backbone,
        models.backbone_facts(model, config.model),
        FeatureCache(directory) if directory else None,
        corrupt,
        config.train.eval_batch_size,
        console,
        FAST_BATCHES if config.debug.mode == "fast_dev_run" else None,
    )


def _summary_table(phase: Phase, peak: float) -> Table:
    """The parameter table by group, first and last groups only when there are many."""
    shown = Table(title=f"what is trained ({phase.name}); all of it: parameters.csv")
    for column in ("group", "variables", "trained", "of", "multiplier", "peak learning rate"):
        shown.add_column(column, justify="right")
    rows = summary(phase.table, peak)
    if len(rows) > 9:
        rows = [*rows[:3], ("…",) * 6, *rows[-4:]]
    for row in rows:
        shown.add_row(*row)
    return shown
