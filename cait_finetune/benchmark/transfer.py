"""``python -m cait_finetune benchmark transfer``: test accuracy by method and training-set size."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from cait_finetune import model as models
from cait_finetune.benchmark.tables import Report, footnote, machine
from cait_finetune.benchmark.task import check_choices, check_values
from cait_finetune.benchmark.transfer_runs import METHODS, Results, TransferRun, execute
from cait_finetune.cli.compose import configure
from cait_finetune.config.places import expanded_path
from cait_finetune.data.load import load_source
from cait_finetune.errors import bad_value
from cait_finetune.report.style import drawing
from cait_finetune.runs.markdown import markdown_table
from cait_finetune.runtime.cores import core_count, cores
from cait_finetune.runtime.progress import progress_bar

_LONGER = {"from scratch 3x": 3}  # factor of `epochs`, by method
# The last rows of a table show these differences.
_GAINS = (("full", "from scratch"), ("full", "from scratch 3x"))
_OVERHEAD = 250  # progress units of a run's tracing and scoring; a unit is a training step


@dataclass
class TransferBenchmark:
    """The keys of the command. It measures `datasets` × `methods` × `shares`.

    A share is a fraction of the training images. Each method and share has `seeds` runs of `epochs`
    passes over the images. A pass has at least `least_steps` steps. The method ``from scratch 3x``
    has three times as many passes. The seed determines the images, the head's weights and the order
    of the images.
    `data_dir` is the folder in which TFDS prepared the data sets. `processes` is the number of
    parallel runs; 0 is one per core. The command stores results in `out`. It repeats a finished run
    only if the model, its pretrained weights, the images or the configuration changed.
    """

    datasets: list[str] = field(default_factory=lambda: ["digits"])
    data_dir: str | None = None
    model: str = "cait_nano_32"
    methods: list[str] = field(default_factory=lambda: list(METHODS))
    shares: list[float] = field(default_factory=lambda: [0.01, 0.05, 0.2, 1.0])
    seeds: int = 5
    epochs: int = 10
    least_steps: int = 10
    processes: int = 0
    out: str = "benchmark_transfer"

    def check(self) -> None:
        """Check every key before the first run; raise UserError."""
        check_values(self)
        check_choices("methods", self.methods, tuple(METHODS))
        for share in self.shares:
            if not 0 < share <= 1:
                raise bad_value("shares", share, "shares above 0, at most 1: 0.05 is 5 %")
        core_count(self.processes, "processes")
        for dataset in self.datasets:
            for method in self.methods:
                config = configure(*self.run(dataset, method).overrides)
                models.check(config.model)
            if config.dataset.multi_label or config.dataset.evaluation_only:
                raise bad_value(
                    "datasets", dataset, "sets to train on, with one label for each image"
                )

    def report(self, console: Console) -> Report:
        """Execute the missing runs and return the tables.

        Raises:
            UserError: a run failed. The results of finished runs are kept.
        """
        results = Results(expanded_path("out", self.out) / "transfer_runs.jsonl")
        runs = {dataset: list(self.runs(dataset)) for dataset in self.datasets}
        every = [run for listed in runs.values() for run in listed]
        missing = [run for run in every if run not in results]
        with progress_bar(
            "", sum(run.steps + _OVERHEAD for run in missing), console, unit=""
        ) as advance:
            for run, result in execute(missing, core_count(self.processes, "processes")):
                results.add(run, result)
                advance(run.steps + _OVERHEAD, str(run))
        panels = [Panel.of(dataset, listed, results) for dataset, listed in runs.items()]
        longer = "".join(f"; *{name}*: {self.epochs * times} passes"
                         for name, times in _LONGER.items() if name in self.methods)  # fmt: skip
        text = (
            "Test accuracy in percent by the share of the training images, mean and range of "
            f"{self.seeds} seed{'s' * (self.seeds > 1)}.\n`{self.model}`, {self.epochs} passes of at "
            f"least {self.least_steps} steps{longer}; a linear probe is\nsolved to its optimum. The "
            "best epoch is chosen on all validation images.\n"
        )
        values = [{"command": " ".join(run.overrides), **dataclasses.asdict(results[run])}
                  for run in every]  # fmt: skip
        return Report(
            "\n".join([text, *(panel.table() for panel in panels), footnote(len(cores()), False)]),
            {"machine": machine(timm=False), "runs": values},
            functools.partial(draw, panels),
        )

    def runs(self, dataset: str) -> Iterator[TransferRun]:
        """Yield the runs on a data set. The number of images determines the steps of a pass."""
        for share in sorted(set(self.shares)):
            config = configure(*self.run(dataset, self.methods[0], share).overrides)
            images = load_source(config.dataset).sizes["train"]
            steps = max(self.least_steps, math.ceil(images / config.train.batch_size))
            for method in dict.fromkeys(self.methods):
                for seed in range(self.seeds):
                    yield self.run(dataset, method, share, seed, steps)

    def run(
        self, dataset: str, method: str, share: float = 1.0, seed: int = 0, steps: int = 1
    ) -> TransferRun:
        """Return one run. Data sets that are built in memory get no `data_dir`."""
        in_memory = _source(dataset) in ("digits", "procedural")
        data_dir = None if in_memory else self.data_dir
        epochs = self.epochs * _LONGER.get(method, 1)
        return TransferRun(dataset, self.model, method, share, seed, epochs, steps, data_dir)


@functools.cache
def _source(dataset: str) -> str:
    return configure(f"dataset={dataset}").dataset.source


@dataclass(frozen=True)
class Panel:
    """Test accuracy on one data set, in percent.

    Attributes:
        images: number of training images of each share.
        test: test accuracy by method, ``(shares, seeds)``.
    """

    dataset: str
    shares: Sequence[float]
    images: Sequence[int]
    test: dict[str, np.ndarray]

    @classmethod
    def of(cls, dataset: str, runs: Sequence[TransferRun], results: Results) -> Panel:
        """Collect the results of the runs on a data set."""
        images = {run.share: results[run].images for run in runs}
        test: dict[str, list[float]] = {}
        for run in runs:  # ordered by share, then method, then seed
            test.setdefault(run.method, []).append(100 * results[run].test)
        rows = {method: np.reshape(one, (len(images), -1)) for method, one in test.items()}
        return cls(dataset, list(images), list(images.values()), rows)

    def table(self) -> str:
        """Return a Markdown table: mean and range by method and share, and the paired gains."""
        shares = zip(self.shares, self.images, strict=True)
        header = ["", *(f"{share * 100:.3g} % ({images:,})" for share, images in shares)]
        rows = [[method, *(f"{one.mean():.1f} ({one.min():.1f}–{one.max():.1f})" for one in test)]
                for method, test in self.test.items()]  # fmt: skip
        for method, base in _GAINS:
            if {method, base} <= self.test.keys():
                gains = self.test[method] - self.test[base]  # a seed draws the same images for both
                cells = (
                    f"{one.mean():+.1f} ({one.min():+.1f} to {one.max():+.1f})" for one in gains
                )
                rows.append([f"*{method} − {base}*", *cells])
        return f"**{self.dataset}**\n\n{markdown_table(header, rows)}"


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write a PNG: one panel per data set, one line per method. The error bars span the seeds."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(5.2 * len(panels) + 1.8, 4.4), layout="constrained")
        for panel, axes in zip(
            panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True
        ):
            colours = iter(f"C{number}" for number in range(len(panel.test)))
            for number, (method, test) in enumerate(panel.test.items()):
                mean = test.mean(axis=1)
                scratch = method.startswith("from scratch")
                shift = 1.04 ** (number - (len(panel.test) - 1) / 2)  # error bars must not overlap
                axes.errorbar(
                    np.array(panel.images) * shift, mean,
                    yerr=[mean - test.min(axis=1), test.max(axis=1) - mean], label=method,
                    color="grey" if scratch else next(colours),
                    linestyle="-" if not scratch else ":" if method in _LONGER else "--",
                    marker="o", markersize=3, elinewidth=0.8, capsize=2,
                )  # fmt: skip
            ticks = [f"{images:,}\n{share * 100:.3g} %"
                     for share, images in zip(panel.shares, panel.images, strict=True)]  # fmt: skip
            axes.set(title=panel.dataset, xscale="log", xlabel="training images", ylabel="test, %")
            axes.set_xticks(panel.images, ticks)
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.3)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
        figure.savefig(path, dpi=110)
