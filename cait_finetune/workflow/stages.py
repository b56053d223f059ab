"""Build the stages of a run from its configuration: the optimizer, average and step of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.config import Config
from cait_finetune.optim.build import build_optimizer
from cait_finetune.optim.phases import Phase
from cait_finetune.train.average import MovingAverage
from cait_finetune.train.loop import TRAINED, Stage, restore
from cait_finetune.train.loss import Loss
from cait_finetune.train.loss_scale import LossScale
from cait_finetune.train.step import TrainStep


class Stages:
    """Build each stage of a run only when it starts, because optimizer slots take much memory.

    Args:
        trained: returns `TrainStep`'s `model` and `frozen` for a phase.
        schedule: returns the learning-rate schedule of a phase, given the phase's number of steps.
    """

    def __init__(
        self,
        config: Config,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        loss: Loss,
        phases: list[Phase],
        trained: Callable[[Phase], tuple[keras.Model, keras.Model | None]],
        steps_per_epoch: int,
        schedule: Callable[[int], Callable[[int], float]],
    ) -> None:
        self._config = config
        self._model = model
        self._strategy = strategy
        self._loss = loss
        self._phases = phases
        self._trained = trained
        self._steps_per_epoch = steps_per_epoch
        self._schedule = schedule

    def unfinished(
        self, step: int, arrays: Mapping[str, np.ndarray] | None = None
    ) -> list[Callable[[], Stage]]:
        """Return builders of the stages that are left after `step` steps.

        Args:
            arrays: the saved state after `step` steps, by variable name. Only a stage that had
                begun but not ended at `step` restores the state.

        Raises:
            UserError: a builder raises it if the arrays belong to another run.
        """

        def half_done(phase: Phase) -> Stage:
            stage = self._build(phase)
            restore(self._model, stage.step, arrays)
            return stage

        builders = []
        for phase in self._phases:
            if phase.first_step < step < phase.first_step + phase.steps:
                builders.append(lambda phase=phase: half_done(phase))
            elif step <= phase.first_step:
                builders.append(lambda phase=phase: self._build(phase))
        return builders

    def _build(self, phase: Phase) -> Stage:
        config, train = self._config, self._config.train
        trained, frozen = self._trained(phase)
        with self._strategy.scope():
            optimizer = build_optimizer(phase.table, config.optimizer)
            average = None
            if config.average.method != "none":
                average = MovingAverage(
                    optimizer.variables, config.average.decay, config.average.warmup
                )
            loss_scale = LossScale() if train.precision == "mixed_float16" else None
            swa = config.average.method == "swa"
            step = TrainStep(
                trained,
                optimizer,
                self._strategy,
                loss=self._loss,
                clip_norm=train.clip_norm,
                loss_scale=loss_scale,
                jit_compile=train.jit_compile,
                accumulation=train.accumulation,
                average=average,
                average_steps=not swa,
                steps_per_call=train.steps_per_execution,
                seed=(config.seed, phase.first_step),
                frozen=frozen,
            )
        versions = [(TRAINED, optimizer.evaluation_values)]
        if average:
            versions.append((config.average.method, average.present))
        if not config.average.export:
            versions.reverse()  # the last version determines the best epoch
        swa_epochs = config.average.swa_epochs or 0
        return Stage(
            name=phase.name,
            first_step=phase.first_step,
            steps=phase.steps,
            step=step,
            schedule=self._schedule(phase.steps),
            variables=optimizer.variables,
            weights=dict(versions),
            swa=average if swa else None,
            swa_from=phase.first_step + phase.steps - (swa_epochs - 1) * self._steps_per_epoch,
        )
