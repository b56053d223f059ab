"""A run from its configuration to its report. Read this file first.

`prepare` (setup.py) opens the data, and builds the model and its parameter tables. `train`
(training.py) saves the best weights. `finish` scores, exports and reports these weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.errors import Interrupted, UserError
from cait_finetune.loggers.fan_out import Loggers
from cait_finetune.report.page import write_page
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.identity import check_best
from cait_finetune.tasks import task_of
from cait_finetune.train.distribution import lost_worker, wait_for_workers
from cait_finetune.train.logbook import OnEpochEnd
from cait_finetune.workflow.exporting import outcome, publish, read_exports
from cait_finetune.workflow.finalize import (
    collect_result,
    draw_report,
    export_model,
    print_summary,
    score_splits,
)
from cait_finetune.workflow.life import life
from cait_finetune.workflow.logged import conclude_loggers, logged
from cait_finetune.workflow.prepared import Prepared
from cait_finetune.workflow.scoring import Metric, measured
from cait_finetune.workflow.setup import prepare
from cait_finetune.workflow.training import train


@dataclasses.dataclass(frozen=True)
class Hooks:
    """The caller's functions, which a run calls.

    Attributes:
        on_epoch_end: each gets the metrics of an epoch. If one returns `True`, training ends.
        metrics: further metrics of validation and test, by name.
    """

    on_epoch_end: Sequence[OnEpochEnd] = ()
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)


def finetune(config: Config, directory: Path, hooks: Hooks | None = None) -> dict:
    """Fine-tune as configured, and write all files of the run to `directory`.

    With `config.resume`, the run in `directory` continues where it stopped: in training, or in a
    later step.

    Returns:
        The contents of ``result.json``. On every worker except the first: an empty dictionary.

    Raises:
        UserError: a mistake that the user can correct. Finished files are kept.
        Interrupted: a signal ended the run after its state was saved, or another worker is gone.
    """
    started, hooks = time.perf_counter(), hooks or Hooks()
    run = RunDirectory(directory)
    with life(config, run) as interruption:
        prepared = prepare(config, directory, on_epoch_end=hooks.on_epoch_end)
        interruption.directory = directory  # from now on, resume=DIR can continue the run
        strategy, chief = prepared.worker.strategy, prepared.worker.chief
        with lost_worker(strategy, directory):
            with logged(config, prepared) as loggers, interruption.kept():
                train(config, prepared, interruption)
                interruption.check()
                if chief:
                    check_best(run, prepared.logbook.state.best_sha256)
                    # Score and export a float32 model on one device.
                    model = models.from_checkpoint(
                        config.model,
                        config.head,
                        prepared.source.class_names,
                        run.best_checkpoint,
                        task_of(config.task).numbers,
                    )
                    finish(config, prepared, model, started, loggers, hooks.metrics)
                else:
                    wait_for_workers(strategy)
            interruption.check()
        if not chief:
            return {}
        with interruption.deferred():
            result = run.mark_finished()
            interruption.finished = True
        with contextlib.suppress(Interrupted), lost_worker(strategy, directory):
            wait_for_workers(strategy)
        return result


def finish(
    config: Config,
    prepared: Prepared,
    model: keras.Model,
    started: float,
    loggers: Loggers,
    metrics: Mapping[str, Metric] | None = None,
) -> None:
    """Score, export and report `model`, which holds the best weights.

    A resumed run keeps finished files. A refused export or upload does not stop the other steps: its
    error is raised at the end, and `resume` tries the step again.

    Args:
        started: when this process began the run, on `time.perf_counter`'s clock.
        loggers: they receive the result, the pictures and the model.
        metrics: further metrics, by name.

    Raises:
        UserError: a format was refused, or the upload to the hub failed.
    """
    run = prepared.run
    scores = measured(score_splits(config, prepared, model), metrics or {})
    draw_report(config, prepared, model, scores)
    result = collect_result(config, prepared, scores, started)
    run.write_result(result)
    problems: list[str] = []
    with _collected(problems):
        export_model(config, prepared, model, scores.postprocessing)
    result |= outcome(read_exports(run))
    result["wall_seconds"] = time.perf_counter() - started
    run.write_result(result)
    write_page(run)
    print_summary(config, prepared, scores, result)
    with _collected(problems):
        say = functools.partial(prepared.worker.console.print, highlight=False)
        publish(config.export, run, list(prepared.source.class_names), say)
    conclude_loggers(loggers, scores.task, run, result)
    if problems:
        raise UserError("\n".join(problems))


@contextlib.contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    """Catch a `UserError` and append its text to `problems`."""
    try:
        yield
    except UserError as error:
        problems.append(str(error))
