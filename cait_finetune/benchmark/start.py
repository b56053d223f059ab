"""``python -m cait_finetune benchmark start``: seconds from the command to its first finished step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cait_finetune.benchmark.report import Report, footnote, machine, markdown
from cait_finetune.benchmark.rounds import Speeds, in_turn
from cait_finetune.benchmark.task import PRECISIONS, at_least, check_choices, check_models, cores
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory

_PROGRAM = (sys.executable, "-m", "cait_finetune")
_LOOK_EVERY = 0.02  # seconds
_LAST_WORDS = 2000  # characters of what a run that failed has said


@dataclass
class StartConfig:
    """The keys of the command: the digits are trained with each of `models`, `runs` times in turn.

    A short run of each model before these does not count: it leaves files in the system's cache, and
    compiled code in ``train.compile_cache_dir``. Each has the whole machine, as a run has.
    """

    models: list[str] = field(default_factory=lambda: ["cait_nano_32", "cait_xxs24_224"])
    batch_size: int = 16
    precision: str = "float32"
    runs: int = 3
    out: str = "benchmark_start"


SCHEMA = StartConfig


def check(config: StartConfig) -> None:
    """Everything that can be wrong, before a run is started.

    Raises:
        UserError: something is.
    """
    at_least("batch_size", config.batch_size)
    at_least("runs", config.runs)
    check_choices("precision", [config.precision], PRECISIONS)
    check_models(config.models, timm=False)


def report(config: StartConfig, console: Console) -> Report:
    """Time the runs.

    Raises:
        UserError: one of them fails; with what it said.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("first step", total=(config.runs + 1) * len(config.models))
        for model in config.models:
            short_run(command(model, config))
            progress.advance(bar)
        runs = {
            model: lambda model=model: first_step(command(model, config)) for model in config.models
        }
        seconds = in_turn(runs, config.runs, lambda: progress.advance(bar))
    text = (
        f"Seconds from the command to the first finished step, batch {config.batch_size}: median and "
        f"range of {config.runs} runs.\n\n{table(seconds)}\n{footnote(len(cores()))}"
    )
    figures = {"machine": machine(), "seconds": {name: one.rounds for name, one in seconds.items()},
               "commands": {model: command(model, config) for model in config.models}}  # fmt: skip
    return Report(text, figures)


def command(model: str, config: StartConfig) -> list[str]:
    """What a user types, without the directory; random weights, as a download is no measure."""
    return [
        "dataset=digits",
        f"model={model}",
        "model.weights=none",
        f"train.batch_size={config.batch_size}",
        f"train.precision={config.precision}",
    ]


def short_run(words: list[str]) -> None:
    """Some steps, to the end: only then what was compiled is kept.

    Raises:
        UserError: it fails; with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*_PROGRAM, *words, "debug=fast_dev_run", f"hydra.run.dir={folder}/run"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise _failure(words, done.returncode, done.stdout)


def first_step(words: list[str]) -> float:
    """Seconds until a run has written what its first step says; it is ended then.

    Raises:
        UserError: it ends before that.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        run = Path(folder) / "run"
        metrics = RunDirectory(run).metrics
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*_PROGRAM, *words, f"hydra.run.dir={run}"],
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            # A line is whole when its end is there.
            while not (metrics.exists() and b"\n" in metrics.read_bytes()):
                if process.poll() is not None:
                    said.seek(0)
                    raise _failure(words, process.returncode, said.read())
                time.sleep(_LOOK_EVERY)
            return time.perf_counter() - begin
        finally:
            process.kill()
            process.wait()


def _failure(words: list[str], status: int, said: bytes) -> UserError:
    last = said.decode(errors="replace").strip()[-_LAST_WORDS:]
    return UserError(
        f"{' '.join(words)}: got exit status {status} before its first step, expected it to train\n{last}"
    )


def table(seconds: dict[str, Speeds]) -> str:
    """As Markdown."""
    rows = [[model, str(times)] for model, times in seconds.items()]
    return markdown(["model", "first step, s"], rows)
