"""``cait-finetune benchmark start``: seconds from a run's start to its first step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from cait_finetune.benchmark.comparison import in_turn
from cait_finetune.benchmark.tables import Report, footnote, machine
from cait_finetune.benchmark.task import PRECISIONS, check_choices, check_models, check_values
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.markdown import markdown_table
from cait_finetune.runtime.cores import cores
from cait_finetune.runtime.progress import progress_bar

_PROGRAM = (sys.executable, "-m", "cait_finetune")
_POLL = 0.02  # seconds
_TAIL = 2000  # characters of a failed run's output


@dataclass
class StartBenchmark:
    """The keys of the command. It starts a run of each of `models` on the digits, `runs` times in turn.

    The command ends each timed run after the first step. Before the timed runs, one short run of
    each model fills the system's file cache and ``train.compile_cache_dir``. The short runs are not
    timed. Only one run is active at a time, with all cores.
    """

    models: list[str] = field(default_factory=lambda: ["cait_nano_32", "cait_xxs24_224"])
    batch_size: int = 16
    precision: str = "float32"
    runs: int = 3
    out: str = "benchmark_start"

    def check(self) -> None:
        """Check every key before any run starts; raise UserError if one is wrong."""
        check_values(self)
        check_choices("precision", [self.precision], PRECISIONS)
        check_models(self.models, timm=False)

    def report(self, console: Console) -> Report:
        """Time the runs. If a run fails, raise UserError with the end of the run's output."""
        commands = {model: self.command(model) for model in self.models}
        with progress_bar("", (self.runs + 1) * len(commands), console, unit="") as advance:
            advance(0, "first step")
            for words in commands.values():
                short_run(words)
                advance()
            runs = {model: partial(first_step, words) for model, words in commands.items()}
            seconds = in_turn(runs, self.runs, advance)
        rows = [[model, str(one)] for model, one in seconds.items()]
        text = (
            f"Seconds from the command to the first finished step, batch {self.batch_size}: median and "
            f"range of {self.runs} runs.\n\n{markdown_table(['model', 'first step, s'], rows)}\n"
            f"{footnote(len(cores()), timm=False)}"
        )
        values = {"machine": machine(timm=False), "commands": commands,
                  "seconds": {name: one.rounds for name, one in seconds.items()}}  # fmt: skip
        return Report(text, values)

    def command(self, model: str) -> list[str]:
        """Return a run's overrides without its directory. Random weights avoid a download."""
        return [
            "dataset=digits",
            f"model={model}",
            "model.weights=none",
            f"train.batch_size={self.batch_size}",
            f"train.precision={self.precision}",
        ]


def short_run(words: list[str]) -> None:
    """Execute a run of a few steps. The run ends normally, so its compiled code stays in the cache.

    Raises:
        UserError: the run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [*_PROGRAM, *words, "debug=fast_dev_run", f"hydra.run.dir={folder}/run"]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise _failure(words, done.returncode, done.stdout)


def first_step(words: list[str]) -> float:
    """Return the seconds from a run's start until its first line of metrics is on disk.

    Raises:
        UserError: the run ended before it wrote the line.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        metrics = RunDirectory(Path(folder) / "run").metrics
        begin = time.perf_counter()
        command = [*_PROGRAM, *words, f"hydra.run.dir={folder}/run"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            # Without a newline, the run has not finished writing the line.
            while not (metrics.exists() and b"\n" in metrics.read_bytes()):
                if process.poll() is not None:
                    output.seek(0)
                    raise _failure(words, process.returncode, output.read())
                time.sleep(_POLL)
            return time.perf_counter() - begin
        finally:
            process.kill()
            process.wait()


def _failure(words: list[str], status: int, output: bytes) -> UserError:
    tail = output.decode(errors="replace").strip()[-_TAIL:]
    return UserError(
        f"{' '.join(words)}: got exit status {status} before the first training step, expected a run. Its output:\n{tail}"
    )
