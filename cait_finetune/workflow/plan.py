"""Plan the training: the model, the parameter table of each phase, the loss."""

from __future__ import annotations

import dataclasses

import keras
from rich.table import Table

from cait_finetune import model as models
from cait_finetune.config import Config, TuningConfig
from cait_finetune.data.source import Source
from cait_finetune.optim.length import Length, run_length
from cait_finetune.optim.parameters import summary
from cait_finetune.optim.phases import Phase, phase_lengths, phases
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.identity import (
    check_weights,
)
from cait_finetune.tasks import task_of
from cait_finetune.train.distribution import (
    device_summary,
)
from cait_finetune.train.loop import restore
from cait_finetune.workflow.prepared import Plan, Start, Worker


def plan_length(config: Config, source: Source) -> tuple[TuningConfig, Length]:
    """Return the tuning, with the phases' lengths in epochs, and the run's length in steps.

    With ``debug=fast_dev_run``, a run has one step per phase, but at least two steps.

    Raises:
        UserError: the phases do not fit into the run.
    """
    tuning, length = config.tuning, run_length(config.train, source.sizes["train"])
    if config.debug.mode == "fast_dev_run":
        tuning = dataclasses.replace(
            tuning,
            head_epochs=tuning.head_epochs and 1,
            stage_epochs=tuning.stage_epochs and 1,
        )
        length = Length(max(2, tuning.stages or 2), 1)
    variant = models.check(config.model)
    blocks = variant.depth + variant.depth_token_only
    phase_lengths(tuning, blocks, length.total_steps, length.steps_per_epoch)  # raises
    return tuning, length


def build_plan(
    config: Config,
    run: RunDirectory,
    source: Source,
    tuning: TuningConfig,
    length: Length,
    start: Start,
    worker: Worker,
) -> Plan:
    """Build the model with its weights, the parameter table of each phase, and the loss.

    Raises:
        UserError: the weights do not fit the model, or differ from those with which the run began.
    """
    # Seed right before the weights are initialised: preparing a data set also draws random numbers.
    keras.utils.set_random_seed(config.seed)
    task = task_of(config.task)
    with worker.strategy.scope():
        model = models.build(
            config.model,
            source.class_names,
            config.train.precision,
            config.head,
            numbers=task.numbers,
            load=start.arrays is None,
        )
        if task.numbers:
            for note in models.standardise(model, source.labels("train")):
                worker.console.print(f"target {note}", highlight=False)
        models.adapt(model, config.tuning)
    if start.arrays:
        restore(model, None, start.arrays)
    planned = phases(model, tuning, config.optimizer, length.total_steps, length.steps_per_epoch)
    if start.resumed and start.arrays is None:
        report = model.loading_report
        check_weights(run, config.model.weights, report and report.sha256)
    elif start.resumed and config.model.weights != run.read_config().model.weights:
        # The state holds the weights. The model card names the weights that the run began with.
        check_weights(run, config.model.weights, models.source_checksum(config.model))
    loss = task.build_loss(config, source)
    peak = config.optimizer.peak(config.train.batch_size)
    return Plan(model, planned, loss, length, peak)


def print_plan(config: Config, plan: Plan, start: Start, worker: Worker, step: int) -> None:
    """Print the model, its weights, the parameter tables by group, and the learning rate."""
    model, console = plan.model, worker.console
    weights = f"as after step {step}" if start.arrays else model.loading_report or "random"
    console.print(
        f"model  {config.model.name}: {model.count_params():,} parameters, weights {weights}; "
        f"on {device_summary(worker.strategy)}",
        highlight=False,
    )
    for phase in plan.phases:
        console.print(_summary_table(phase, plan.peak))
    if config.optimizer.lr_batch_size:
        console.print(
            f"lr     {config.optimizer.base_lr:g} × {config.train.batch_size}/"
            f"{config.optimizer.lr_batch_size} = {plan.peak:.3g}",
            highlight=False,
        )


def _summary_table(phase: Phase, peak: float) -> Table:
    """Return the parameter table by group. With many groups, show the first and last ones."""
    shown = Table(title=f"what is trained ({phase.name}); every variable: parameters.csv")
    for column in ("group", "variables", "trained", "of", "multiplier", "peak learning rate"):
        shown.add_column(column, justify="right")
    rows = summary(phase.table, peak)
    if len(rows) > 9:
        rows = [*rows[:3], ("…",) * 6, *rows[-4:]]
    for row in rows:
        shown.add_row(*row)
    return shown
