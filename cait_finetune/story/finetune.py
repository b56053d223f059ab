"""The story of a run, from the configuration to a checked SavedModel."""

from __future__ import annotations

import time
from pathlib import Path

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.runs.identity import check_best
from cait_finetune.story.conclusion import conclude
from cait_finetune.story.logged import conclude_loggers, logged
from cait_finetune.story.preparation import prepare
from cait_finetune.story.training import train
from cait_finetune.train.distribution import build_agreement, lost_worker
from cait_finetune.train.interruption import Interruption


def finetune(config: Config, directory: Path) -> dict:
    """Fine-tune as configured, and leave everything in `directory`.

    With `config.resume` the run in `directory` goes on where it stopped.

    Returns:
        What ``result.json`` holds; of a worker that is not the first, nothing.

    Raises:
        UserError: anything that the user can mend; what was finished is kept.
        Interrupted: a signal asked to end, and the state is saved; or another worker is gone.
    """
    started = time.perf_counter()
    prepared = prepare(config, directory)
    with logged(config, prepared) as loggers:
        with lost_worker(prepared.strategy, directory):
            train(config, prepared)
        result = {}
        if prepared.chief:
            with Interruption(saved=directory):
                check_best(prepared.run, prepared.state.best_sha256)
                # What is scored and exported is a float32 model on one device, however it was trained.
                model = models.from_checkpoint(
                    config.model, prepared.source.class_names, prepared.run.best_checkpoint
                )
                result = conclude(config, prepared, model, started)
                conclude_loggers(loggers, prepared.run, result)
        if agree := build_agreement(prepared.strategy):
            with lost_worker(prepared.strategy, directory):
                agree([False])  # the others wait: a worker that leaves would end the cluster
    return result
