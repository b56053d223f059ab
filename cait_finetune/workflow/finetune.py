"""A run, from the configuration to a checked SavedModel."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.errors import Interrupted, UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.identity import check_best
from cait_finetune.train.cluster import is_first_worker
from cait_finetune.train.distribution import build_agreement, lost_worker
from cait_finetune.train.interruption import Interruption
from cait_finetune.workflow.finalize import conclude
from cait_finetune.workflow.logged import logged
from cait_finetune.workflow.setup import Prepared, prepare
from cait_finetune.workflow.training import train
from cait_tf.os_errors import explain_os_error


def finetune(config: Config, directory: Path) -> dict:
    """Fine-tune as configured, and leave everything in `directory`.

    With `config.resume` the run in `directory` continues where it stopped: in training, or in any
    step after it.

    Returns:
        What ``result.json`` holds; of a worker that is not the first, nothing.

    Raises:
        UserError: anything that the user can mend; what was finished is kept.
        Interrupted: a signal asked to end, and the state is saved; or another worker is gone.
    """
    started = time.perf_counter()
    run, chief = RunDirectory(directory), is_first_worker(config.distribution)
    key = "resume" if config.resume else "hydra.run.dir"
    with (
        Interruption() as interruption,
        _explained(run),
        run.owned(key) if chief else contextlib.nullcontext(),
    ):
        interruption.directory = directory if config.resume else None
        prepared = prepare(config, directory)
        interruption.directory = directory
        with lost_worker(prepared.strategy, directory):
            _work(config, prepared, started, interruption)
        if not prepared.chief:
            return {}
        with interruption.deferred():
            result = run.mark_finished()
            interruption.finished = True
        if agree := build_agreement(prepared.strategy):
            with contextlib.suppress(Interrupted), lost_worker(prepared.strategy, directory):
                agree([False])
        return result


def _work(config: Config, prepared: Prepared, started: float, interruption: Interruption) -> None:
    """Everything between the preparation and the mark that the run is finished."""
    with logged(config, prepared) as loggers:
        train(config, prepared, interruption)
        interruption.check()
        if prepared.chief:
            check_best(prepared.run, prepared.state.best_sha256)
            # What is scored and exported is a float32 model on one device, however it was trained.
            model = models.from_checkpoint(
                config.model, prepared.source.class_names, prepared.run.best_checkpoint
            )
            conclude(config, prepared, model, started, loggers)
        elif agree := build_agreement(prepared.strategy):
            agree([False])  # wait for the first: a worker that leaves would end the cluster
    interruption.check()


@contextlib.contextmanager
def _explained(run: RunDirectory) -> Iterator[None]:
    """Inside, an error of the system becomes a `UserError` that says what of the run is kept."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        then = f"\n  Then continue with resume={run.root}" if run.config.is_file() else ""
        raise UserError(f"{explain_os_error(error)}{then}") from error
