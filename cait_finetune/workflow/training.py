"""The second chapter of a run: the trained weights."""

from __future__ import annotations

import keras

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.optim.length import warmup_length
from cait_finetune.optim.phases import Phase
from cait_finetune.optim.schedule import Schedule, build_schedule
from cait_finetune.scores.evaluation import build_evaluator
from cait_finetune.train.distribution import build_agreement
from cait_finetune.train.figures import in_words
from cait_finetune.train.interruption import Interruption
from cait_finetune.train.loop import Trainer
from cait_finetune.train.profile import Profile
from cait_finetune.train.solver import solve_head
from cait_finetune.workflow.phases import Stages
from cait_finetune.workflow.setup import Prepared


def train(config: Config, prepared: Prepared, interruption: Interruption | None = None) -> None:
    """Train what is left of the run; the best weights are then in ``prepared.run.best_checkpoint``.

    Args:
        interruption: whether a signal asked to end; `None`: nobody listens to signals.

    Raises:
        UserError: anything that the user can mend; what was finished is kept.
        Interrupted: a signal asked to end; the state is saved.
    """
    model, streams, strategy = prepared.model, prepared.streams, prepared.strategy
    steps_per_epoch = prepared.length.steps_per_epoch
    validation = streams.validation()
    evaluator = build_evaluator(
        models.Head(model) if streams.features else model, prepared.source.multi_label, strategy
    )

    def validate() -> dict[str, float]:
        return evaluator(validation).as_figures()

    if prepared.other_images:
        _score_best_again(config, prepared)
    if config.tuning.solver == "lbfgs":
        solve_head(
            model,
            streams.features("train"),
            validate,
            prepared.checkpoints,
            prepared.metrics.write,
            prepared.console,
            prepared.state,
            config.dataset.judged_by,
        )
        return

    def schedule(steps: int) -> Schedule:
        warmup = warmup_length(config.schedule, config.train.batch_size, steps_per_epoch)
        return build_schedule(config.schedule, prepared.peak, warmup, steps, steps_per_epoch)

    stages = Stages(
        config,
        model,
        strategy,
        prepared.loss,
        prepared.phases,
        lambda phase: trained_part(prepared, phase),
        steps_per_epoch,
        schedule,
    )
    profile = prepared.run.profile if config.debug.mode == "profile" else None
    trainer = Trainer(
        model,
        strategy,
        streams.training,
        steps_per_epoch,
        prepared.length.total_steps,
        config.train,
        config.checkpoint,
        validate,
        config.dataset.judged_by,
        prepared.checkpoints,
        prepared.metrics,
        prepared.console,
        prepared.state,
        Profile(profile),
        build_agreement(strategy),
    )
    unfinished = stages.unfinished(prepared.state.step, prepared.arrays)
    trainer.run(unfinished, interruption or Interruption())


def _score_best_again(config: Config, prepared: Prepared) -> None:
    """Score the best weights so far on the changed images, by which later epochs are judged."""
    state, source, path = prepared.state, prepared.source, prepared.run.best_checkpoint
    if not state.best_epoch or not path.is_file():
        return
    best = models.from_checkpoint(config.model, source.class_names, path)
    evaluator = build_evaluator(best, source.multi_label)
    figures = evaluator(prepared.streams.images_of("validation")).as_figures()
    metric = config.dataset.judged_by
    state.best_score = figures[metric], -figures["loss"]
    prepared.console.print(
        f"best   epoch {state.best_epoch}, on the images as they are now: validation loss "
        f"{figures['loss']:.4f}  {in_words(figures, metric)}",
        highlight=False,
    )


def trained_part(prepared: Prepared, phase: Phase) -> keras.Model:
    """What a phase's step calls: the model, or what of it is not frozen."""
    if prepared.streams.features:
        return models.Head(prepared.model)
    return models.FrozenBackbone(prepared.model) if phase.head_only else prepared.model
