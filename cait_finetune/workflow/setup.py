"""Check the configuration, then build the objects that training needs. Quick checks come first."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from omegaconf import OmegaConf
from rich.console import Console

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.config.advice import advise
from cait_finetune.config.yaml_files import Folders
from cait_finetune.data.image_files.split_file import check_split_file
from cait_finetune.data.load import load_source
from cait_finetune.data.seen_images import SeenImages
from cait_finetune.data.source import Source
from cait_finetune.data.statistics import settle_statistics
from cait_finetune.errors import bad_value
from cait_finetune.export.formats import check as check_export
from cait_finetune.optim.length import Length
from cait_finetune.optim.parameters import write_csv
from cait_finetune.runs.command_line import command_line
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.environment import record_environment
from cait_finetune.runs.identity import (
    PARENT,
    Say,
    begin_identity,
    check_state,
    confirmed,
    place_notes,
    record_weights_path,
    run_classes,
    unlike,
)
from cait_finetune.runs.provenance import PREPROCESSING, SEEN, notes_on_weights, stated
from cait_finetune.runs.records import check_records_id, read_records
from cait_finetune.runs.resume import keep_free_keys
from cait_finetune.runs.run_id import KEY, check_weights_id, new_run_id, run_id
from cait_finetune.runs.saved import read_run
from cait_finetune.runs.settings import check_settings, settings
from cait_finetune.runtime.console import log_to, plain_console
from cait_finetune.scores.metrics import MetricsLog
from cait_finetune.tasks import task_of
from cait_finetune.train.checkpoint import Checkpoints
from cait_finetune.train.distribution import (
    build_strategy,
    check_batch,
    check_precision,
    device_summary,
    is_chief,
)
from cait_finetune.train.logbook import Logbook, OnEpochEnd
from cait_finetune.train.run_state import RunState
from cait_finetune.workflow.plan import build_plan, plan_length, print_plan
from cait_finetune.workflow.prepared import Plan, Prepared, Start, Worker
from cait_finetune.workflow.streams import check_pairs, open_streams, preprocessing_of
from cait_tf.atomic import write_text
from cait_tf.weights.timm import CLASSES

#: Values of `model.weights` that do not name a file of the user.
_PUBLISHED = ("none", "pretrained", "hub", "official")


def prepare(
    config: Config,
    directory: Path,
    strategy: tf.distribute.Strategy | None = None,
    on_epoch_end: Sequence[OnEpochEnd] = (),
) -> Prepared:
    """Open the data, build the model, print the plan, and write the run's first files.

    Args:
        strategy: replaces the configured strategy when several runs share a process.
        on_epoch_end: the caller's functions, which the `Logbook` calls after each epoch.

    Raises:
        UserError: a mistake that the user can correct. All checks come before the slow steps.
    """
    worker = join(config, strategy)
    run = RunDirectory(directory)
    if worker.chief and not config.resume:
        run.create()
    source = open_data(config, run, worker.console)
    tuning, length = plan_length(config, source)
    state, start = _begin_state(config, run, source)
    plan = build_plan(config, run, source, tuning, length, start, worker)
    automatic = settle_statistics(config, source, worker.console)  # reads all training images
    logbook = open_logbook(config, run, source, length, worker, state)
    logbook = dataclasses.replace(logbook, on_epoch_end=tuple(on_epoch_end))
    if worker.chief and config.resume:
        _write_parameters(run, plan)  # the file may be damaged or gone
        keep_free_keys(run, config)
        record_weights_path(run, config.model.weights)
    elif worker.chief:
        _begin_directory(config, run, source, plan, state, automatic, worker)
    print_plan(config, plan, start, worker, state.step)
    if start.arrays is None:
        scored = ("validation", "test")
        for note in notes_on_weights(
            config.model.weights, preprocessing_of(config), source, scored
        ):
            worker.console.print(note, highlight=False)
    streams = open_streams(config, source, plan.model, plan.length, worker.strategy, worker.console)
    return Prepared(run, worker, source, logbook, start, plan, streams)


def join(config: Config, strategy: tf.distribute.Strategy | None = None) -> Worker:
    """Build the strategy, check the configuration against its devices, and return this worker.

    With several workers, the call connects this process to the other workers.

    Raises:
        UserError: a key does not fit other keys or the devices.
    """
    if config.dataset.evaluation_only:
        raise bad_value(
            "dataset",
            f"{config.dataset.name}, which is for evaluation only",
            "a set to train on",
            "score a model on it with python -m cait_finetune evaluate",
        )
    models.check(config.model)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = strategy or build_strategy(config.distribution)
    check_batch(config.train.batch_size, config.train.accumulation or 1, strategy)
    check_pairs(config, strategy)
    check_precision(config.train.precision, strategy)
    check_export(config.export)
    chief = is_chief(strategy)
    return Worker(strategy, chief, _console(chief))


def open_data(config: Config, run: RunDirectory, console: Console) -> Source:
    """Open the images and print their classes and sizes.

    A resumed run compares its images with the images with which it began.

    Raises:
        UserError: the images cannot be found or read, or a file belongs to another run.
        ChangedData: the images have changed since the run began.
    """
    if config.resume:
        check_settings(run, "resume")
        check_weights_id(run, "resume", run.last_checkpoint, run.best_checkpoint)
        check_records_id(run, "resume")
    if config.resume or config.continue_from:
        check_split_file(config.dataset.splits)
    say = functools.partial(console.print, highlight=False)
    for line in _place_of_images(config, run):
        say(line)
    source = load_source(
        config.dataset, task_of(config.task).target, channels=config.model.in_channels
    )
    if config.resume:
        names = run_classes(run) or source.class_names
        source = confirmed(run, names, source, "resume", config.dataset.accept_changes, say)
    elif config.continue_from:
        source = _continued(config, source, say)
    _check_names(source.class_names)
    for line in source.describe(config.dataset.name):
        say(line)
    return source


def _place_of_images(config: Config, run: RunDirectory) -> list[str]:
    """Return a line if a moved or copied run still reads its images from the recorded place."""
    own = run if config.resume else None
    if own is None and Folders.own and RunDirectory(Folders.own).identity.is_file():
        own = RunDirectory(Folders.own)  # continue_from=RUN, and -cd RUN -cn config
    if own is None or own.read_config().dataset.data_dir != config.dataset.data_dir:
        return []
    return place_notes(own, config.dataset.data_dir)


def _continued(config: Config, source: Source, say: Say) -> Source:
    """Return the source with labels numbered as in the run that this run continues.

    Raises:
        UserError: the run cannot be read.
        ChangedData: the images have changed since that run.
    """
    parent = read_run(Path(str(config.continue_from)))
    accept = config.dataset.accept_changes
    source = confirmed(parent.directory, parent.class_names, source, PARENT, accept, say)
    epoch = parent.directory.read_result().get("best_epoch")
    say(
        f"continue from the best weights of {parent.directory.root} (epoch {epoch}); the optimizer, "
        "the warm-up and the schedule begin again"
    )
    return source


def _begin_state(config: Config, run: RunDirectory, source: Source) -> tuple[RunState, Start]:
    """Return the state of a new run. For a resumed run, read the saved state.

    Raises:
        UserError: the state is damaged or belongs to another run.
    """
    if config.resume:
        return _resume_state(config, run, source)
    seen = _seen(source, _seen_by(config.model.weights))
    return RunState(run=new_run_id(), seen=seen), Start()


def open_logbook(
    config: Config,
    run: RunDirectory,
    source: Source,
    length: Length,
    worker: Worker,
    state: RunState,
) -> Logbook:
    """Open the files that training writes."""
    if config.resume:
        metrics = MetricsLog(run.metrics, worker.chief, state.run)
        if worker.chief:
            record_environment(run.environment, device_summary(worker.strategy), begin=False)
            if not state.stopped and state.step < length.total_steps:
                run.unmark_finished()
        metrics.cut(state.log_bytes, state.step)
    else:
        metrics = MetricsLog(run.metrics, worker.chief, state.run)
    stated = {
        "model": config.model.name,
        CLASSES: "\n".join(source.class_names),
        KEY: state.run,
        PREPROCESSING: json.dumps(vars(preprocessing_of(config))),
        SEEN: state.seen,
    }
    checkpoints = Checkpoints(run.checkpoints, stated, config.checkpoint.keep, worker.chief)
    return Logbook(state, metrics, checkpoints, worker.console)


def _resume_state(config: Config, run: RunDirectory, source: Source) -> tuple[RunState, Start]:
    """Read the run's newest state, and adapt it to the current configuration and images.

    Raises:
        UserError: the state is damaged or belongs to another run.
    """
    checkpoints = Checkpoints(run.checkpoints, {})
    if not checkpoints.states:
        _check_no_state(run)
    arrays, values = checkpoints.load_state()
    state = RunState.from_dict(values)
    digest = check_state(run, state.data, state.run)
    other_images = state.data not in ("", digest)
    before = SeenImages.from_text(state.seen) or _seen_by(
        str(run.last_checkpoint) if arrays else config.model.weights
    )
    state.run = run_id(run)  # states of earlier versions lack the id
    state.seen = _seen(source, before)
    state.data = digest
    state.reconsider(config.train.max_hours, config.train.patience)
    return state, Start(resumed=True, arrays=arrays, other_images=other_images)


def _check_no_state(run: RunDirectory) -> None:
    """Refuse to resume a run that lost its states: it would overwrite its best weights.

    A run that has recorded a second epoch has also saved a state.

    Raises:
        UserError: the run recorded more than one epoch.
    """
    epochs = len(read_records(run, "epoch", "resume"))
    if epochs > 1:
        raise bad_value(
            "resume",
            f"{run.checkpoints} without a state, although {run.metrics.name} has {epochs} epochs",
            "the files state_*.safetensors of the run",
            "Copy these files, too, or start a new run with "
            f"{advise('model.weights', run.best_checkpoint)}",
        )


def _seen(source: Source, before: SeenImages) -> str:
    """Return the union of the images seen `before` and this run's training images, as text."""
    own = SeenImages.of(source.content_hashes("train"), source.hash_kind)
    return own.union(before).to_text()


def _seen_by(weights: str) -> SeenImages:
    """Return the images that the start weights were trained on, as the weights file states.

    For published weights the result is empty, because no list of their images exists.
    """
    if weights in _PUBLISHED:
        return SeenImages.of(np.array([], np.int64))
    return SeenImages.from_text(stated(weights).get(SEEN, "")) or SeenImages.of(None)


def _begin_directory(
    config: Config,
    run: RunDirectory,
    source: Source,
    plan: Plan,
    state: RunState,
    automatic: Mapping[str, Any],
    worker: Worker,
) -> None:
    """Write the run's first files. ``config.yaml`` comes last: it makes the run resumable."""
    report = plan.model.loading_report
    sha256 = report and report.sha256
    composed = OmegaConf.structured(config)
    composed.dataset.accept_changes = False  # it holds for this command only
    weights, parent = config.model.weights, config.continue_from
    again = Folders.own and str(Folders.own) != parent
    if Folders.own and again and RunDirectory(Folders.own).identity.exists():  # -cd RUN -cn config
        for line in unlike(RunDirectory(Folders.own), source, sha256):
            worker.console.print(line, highlight=False)
    identity = begin_identity(
        run, source, weights, sha256, state.run, settings(composed),
        RunDirectory(Path(parent)) if parent else None, automatic,
    )  # fmt: skip
    state.data = identity.digest
    _write_parameters(run, plan)
    record_environment(run.environment, device_summary(worker.strategy), begin=True)
    if command := command_line(run.root):
        write_text(run.command, f"{command}\n")
    run.write_config(composed)


def _write_parameters(run: RunDirectory, plan: Plan) -> None:
    write_csv({phase.name: phase.table for phase in plan.phases}, run.parameters)


def _check_names(class_names: Sequence[str]) -> None:
    """Check that each class name is one line, because checkpoints and exports store one per line.

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
    """Return the console, and send our log to it. Only the chief's console prints."""
    console = plain_console(quiet=not chief)
    log_to(console)
    return console
