"""The runs of ``benchmark transfer``: command lines, processes and stored results."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from cait_finetune import model as models
from cait_finetune.benchmark.worker import WorkerKilled
from cait_finetune.cli.compose import configure
from cait_finetune.data.fingerprint import fingerprint
from cait_finetune.data.load import load_source
from cait_finetune.errors import UserError
from cait_finetune.runs.command_line import override
from cait_finetune.runtime.cores import cores, limit_threads

# This optimizer sets another learning rate.
_SCRATCH = ("optimizer=adamw_from_scratch", "model.weights=none")
_PRETRAINED = ("model.weights=pretrained",)
_PROBE = ("tuning=linear_probe", *_PRETRAINED, "tuning.solver=lbfgs", "tuning.cache_dir=null")
#: The overrides of each method.
METHODS: dict[str, tuple[str, ...]] = {
    "from scratch": _SCRATCH,
    "from scratch 3x": _SCRATCH,
    "linear probe": _PROBE,
    "full": (*_PRETRAINED, "optimizer.layer_decay=1"),
    "full + layer decay": _PRETRAINED,
    "LoRA": ("tuning=lora", *_PRETRAINED),
    "head then full": ("tuning=head_then_full", *_PRETRAINED),
}
_RUNS_PER_PROCESS = 50  # TensorFlow does not free all memory of a run


@dataclass(frozen=True)
class TransferRun:
    """One method on a share of a data set's training images, with one seed.

    Attributes:
        data_dir: where TFDS prepared the data set. `None`: the default.
    """

    dataset: str
    model: str
    method: str
    share: float
    seed: int
    epochs: int
    steps_per_epoch: int
    data_dir: str | None = None

    @property
    def overrides(self) -> tuple[str, ...]:
        """The command line. The seed determines the images, their order and the head's weights."""
        return (
            *self.data_overrides,
            f"model={self.model}",
            *METHODS[self.method],
            f"dataset.train_share={self.share:g}",
            f"seed={self.seed}",
            *self._length,
            "distribution=cpu",
            "export=none",
        )

    @property
    def _length(self) -> tuple[str, ...]:
        """The overrides of training in steps. A probe has no steps, and reads each image once."""
        if METHODS[self.method] is _PROBE:
            return ()
        return (
            f"train.epochs={self.epochs}",
            f"train.steps_per_epoch={self.steps_per_epoch}",
            "dataset.cache=memory",
        )

    @property
    def data_overrides(self) -> tuple[str, ...]:
        """The overrides that name the data set."""
        place = [override("dataset.data_dir", self.data_dir)] if self.data_dir else []
        return (f"dataset={self.dataset}", *place)

    @property
    def steps(self) -> int:
        """Number of training steps. 0 for a probe, because L-BFGS solves it without steps."""
        return 0 if METHODS[self.method] is _PROBE else self.epochs * self.steps_per_epoch

    def __str__(self) -> str:
        return f"{self.dataset}, {self.method}, {self.share:.2g} of the images, seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """Test and validation metric of the best epoch, and the number of training images.

    The best epoch is the epoch with the best validation metric.
    """

    test: float
    validation: float
    best_epoch: int
    images: int


class Results:
    """The results of finished runs, stored in a JSON Lines file.

    A stored result is valid while its command line, configuration, data set and pretrained weights
    are unchanged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Result] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            # An interrupted command leaves an incomplete line.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                self._known[record["key"]] = Result(**record["result"])

    def __contains__(self, run: TransferRun) -> bool:
        return self._key(run) in self._known

    def __getitem__(self, run: TransferRun) -> Result:
        return self._known[self._key(run)]

    def add(self, run: TransferRun, result: Result) -> None:
        """Add a result, and append it to the file."""
        key = self._key(run)
        self._known[key] = result
        record = {"run": " ".join(run.overrides), "key": key, "result": dataclasses.asdict(result)}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(record)}")

    @functools.cached_property
    def _key(self) -> Callable[[TransferRun], str]:
        """A function that returns the checksum of a run.

        The function composes the configuration of each method once. It reads each data set and each
        set of weights once.
        """
        compose, weights = functools.cache(configure), functools.cache(models.start_checksum)
        images = functools.cache(
            lambda *words: fingerprint(load_source(compose(*words).dataset))[0]
        )

        @functools.cache
        def key(run: TransferRun) -> str:
            usual = dataclasses.replace(run, share=1.0, seed=0, epochs=1, steps_per_epoch=1)
            config = compose(*usual.overrides)
            facts = [run.overrides, dataclasses.asdict(config), images(*run.data_overrides).digest,
                     weights(config.model.name, config.model.weights)]  # fmt: skip
            return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

        return key


def execute(runs: Sequence[TransferRun], processes: int) -> Iterator[tuple[TransferRun, Result]]:
    """Execute runs in parallel processes, and yield each run with its result when the run finishes.

    The processes divide the cores among them.

    Raises:
        UserError: a run failed. The results of the runs in parallel to it are lost.
    """
    threads = max(1, len(cores()) // processes)
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin,
                               initargs=(threads,), max_tasks_per_child=_RUNS_PER_PROCESS)  # fmt: skip
    pending = {pool.submit(train_and_test, run): run for run in runs}
    try:
        for done in as_completed(pending):
            run = pending[done]
            try:
                yield run, done.result()
            except UserError as error:
                raise UserError(f"{error}\n  in the run {' '.join(run.overrides)}") from error
            except BrokenProcessPool as error:
                raise WorkerKilled(run, "Set processes=1.") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(threads: int) -> None:
    limit_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process without a traceback


def train_and_test(run: TransferRun) -> Result:
    """Train as the fine-tuning command does, and score the best epoch's weights on the test split.

    Raises:
        UserError: the run failed.
    """
    import keras

    from cait_finetune.runtime.tuning import configure_process
    from cait_finetune.scores.evaluation import build_evaluator
    from cait_finetune.workflow.setup import prepare
    from cait_finetune.workflow.training import train

    keras.backend.clear_session()
    config = configure(*run.overrides)
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        configure_process(config, models.check(config.model))
        prepared = prepare(config, Path(folder) / "run")
        train(config, prepared)
        classes = prepared.source.class_names
        model = models.from_checkpoint(config.model, classes, prepared.run.best_checkpoint)
        evaluator = build_evaluator(model, prepared.source.multi_label)
        metrics = evaluator(prepared.streams.images_of("test")).as_metrics()
    best, images = prepared.logbook.state, prepared.source.sizes["train"]
    return Result(metrics[config.dataset.judged_by], best.best_score[0], best.best_epoch, images)
