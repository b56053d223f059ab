"""Makes the runs, several side by side, each in a process that may have made others before it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from cait_finetune.benchmark.contestant import Ended
from cait_finetune.benchmark.task import cores, limit_threads
from cait_finetune.benchmark.transfer.cell import Cell
from cait_finetune.errors import UserError
from cait_tf.quiet import quiet_imports

#: Each leaves some 35 MB behind in TensorFlow that nothing gives back.
_RUNS_OF_A_PROCESS = 50


@dataclass(frozen=True)
class Result:
    """`test` and `validation` are what the data set is judged by, of the best epoch on validation.

    `images` are those that were trained on.
    """

    test: float
    validation: float
    best_epoch: int
    images: int


def run_all(cells: Sequence[Cell], processes: int) -> Iterator[tuple[Cell, Result]]:
    """Each cell with its result, in the order in which they come to their end.

    Args:
        processes: how many at a time; the cores are divided among them.

    Raises:
        UserError: a run fails; those beside it come to their end, and are lost.
    """
    several = processes * _RUNS_OF_A_PROCESS
    for first in range(0, len(cells), several):
        yield from _run_some(cells[first : first + several], processes)


def _run_some(cells: Sequence[Cell], processes: int) -> Iterator[tuple[Cell, Result]]:
    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_begin, initargs=(processes,)
    )
    pending = {pool.submit(run, cell): cell for cell in cells}
    try:
        for done in as_completed(pending):
            cell = pending[done]
            try:
                yield cell, done.result()
            except UserError as error:
                raise UserError(f"{error}\n  in the run {' '.join(cell.words)}") from error
            except BrokenProcessPool as error:
                raise Ended.of(cell, "add processes=1") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(processes: int) -> None:
    """Take its part of the cores; Ctrl-C simply ends it."""
    limit_threads(max(1, len(cores()) // processes))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(cell: Cell) -> Result:
    """Train as the command would, and score the best epoch's weights on the test split.

    Raises:
        UserError: what a run raises.
    """
    with quiet_imports():
        import keras

        from cait_finetune import model as models
        from cait_finetune.cli.hydra_app import configure
        from cait_finetune.runtime.threads import share_cores
        from cait_finetune.scores.evaluation import build_evaluator
        from cait_finetune.workflow.setup import prepare
        from cait_finetune.workflow.training import train

    keras.backend.clear_session()
    gc.collect()  # the graphs of the run before hold each other
    config = configure(*cell.words)
    with tempfile.TemporaryDirectory() as folder, _silent():
        share_cores(config, models.check(config.model))
        prepared = prepare(config, Path(folder) / "run")
        train(config, prepared)
        classes = prepared.source.class_names
        model = models.from_checkpoint(config.model, classes, prepared.run.best_checkpoint)
        evaluator = build_evaluator(model, prepared.source.multi_label)
        figures = evaluator(prepared.streams.images_of("test")).as_figures()
    return Result(
        test=figures[config.dataset.judged_by],
        validation=prepared.logbook.state.best_score[0],
        best_epoch=prepared.logbook.state.best_epoch,
        images=prepared.source.sizes["train"],
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What a run says of itself would run into the progress of all."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
