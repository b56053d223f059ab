"""Train the remaining steps of a run."""

from __future__ import annotations

import keras

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.optim.length import warmup_length
from cait_finetune.optim.phases import Phase
from cait_finetune.optim.schedule import Schedule, build_schedule
from cait_finetune.tasks import task_of
from cait_finetune.train.batches import Batches
from cait_finetune.train.distribution import build_agreement
from cait_finetune.train.interruption import Interruption
from cait_finetune.train.loop import Trainer
from cait_finetune.train.profile import Profile
from cait_finetune.train.solver import solve_head
from cait_finetune.train.validation import Validation
from cait_finetune.workflow.prepared import Prepared
from cait_finetune.workflow.stages import Stages


def train(config: Config, prepared: Prepared, interruption: Interruption | None = None) -> None:
    """Train the remaining steps of the run, and save the best weights.

    The best weights are in ``prepared.run.best_checkpoint``. With `tuning.solver` ``lbfgs``, L-BFGS
    solves the head instead of training it by steps.

    Args:
        interruption: records the signals that ask the run to end. `None`: no signal is recorded.

    Raises:
        UserError: a mistake that the user can correct. Finished files are kept.
        Interrupted: a signal ended the run after its state was saved.
    """
    plan, streams, logbook = prepared.plan, prepared.streams, prepared.logbook
    model, length, strategy = plan.model, plan.length, prepared.worker.strategy
    split = streams.validation()
    task = task_of(config.task)
    evaluator = task.build_evaluator(
        models.Head(model) if streams.features else model, prepared.source.class_names, strategy
    )
    validation = Validation(
        lambda: evaluator(split).as_metrics(), task.judged_by(config.dataset), task.train_metric
    )

    if prepared.start.other_images:
        _score_best_again(config, prepared, validation)
    if config.tuning.solver == "lbfgs":
        solve_head(model, streams.features("train"), validation, logbook)
        return

    images = prepared.source.sizes["train"]
    if config.train.batch_size > images:
        prepared.worker.console.print(
            f"batch  {config.train.batch_size:,} images, more than the {images:,} of train: a step repeats some",
            highlight=False,
        )

    def schedule(steps: int) -> Schedule:
        warmup = warmup_length(config.schedule, config.train.batch_size, length.steps_per_epoch)
        if warmup > steps // 2:
            prepared.worker.console.print(
                f"warm-up {steps // 2} steps instead of {warmup}: at most half of all {steps}",
                highlight=False,
            )
        return build_schedule(config.schedule, plan.peak, warmup, steps, length.steps_per_epoch)

    stages = Stages(
        config,
        model,
        strategy,
        plan.loss,
        plan.phases,
        lambda phase: trained_part(prepared, phase),
        length.steps_per_epoch,
        schedule,
    )
    profile = prepared.run.profile if config.debug.mode == "profile" else None
    trainer = Trainer(
        model,
        Batches(
            streams.training(logbook.state.position), strategy, config.train.steps_per_execution
        ),
        length,
        config.train,
        config.checkpoint,
        validation,
        logbook,
        Profile(profile),
        build_agreement(strategy),
    )
    unfinished = stages.unfinished(logbook.state.step, prepared.start.arrays)
    trainer.run(unfinished, interruption or Interruption())


def _score_best_again(config: Config, prepared: Prepared, validation: Validation) -> None:
    """Score the best weights on the changed images, to compare later epochs with them."""
    state, source, path = prepared.logbook.state, prepared.source, prepared.run.best_checkpoint
    if not state.best_epoch or not path.is_file():
        return
    task = task_of(config.task)
    best = models.from_checkpoint(config.model, config.head, source.class_names, path, task.numbers)
    evaluator = task.build_evaluator(best, source.class_names)
    metrics = evaluator(prepared.streams.images_of("validation")).as_metrics()
    state.best_score = validation.score(metrics)
    prepared.worker.console.print(
        f"best   epoch {state.best_epoch}, on the images as they are now: validation loss "
        f"{metrics['loss']:.4f}  {validation.describe(metrics)}",
        highlight=False,
    )


def trained_part(prepared: Prepared, phase: Phase) -> tuple[keras.Model, keras.Model | None]:
    """Return the model that a phase trains, and the frozen model before it.

    While only the head is trained, the backbone is in inference mode: noise of dropout and
    stochastic depth would blur the features without regularising anything. If the stream contains
    features, no backbone runs.
    """
    model = prepared.plan.model
    if prepared.streams.features:
        return models.Head(model), None
    return (models.Head(model), models.Features(model)) if phase.head_only else (model, None)
