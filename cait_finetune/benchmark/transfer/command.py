"""``python -m cait_finetune benchmark transfer``: what pretrained weights are worth, by method and images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cait_finetune import model as models
from cait_finetune.benchmark.report import Report, footnote, machine
from cait_finetune.benchmark.task import at_least, check_choices, cores, thread_count
from cait_finetune.benchmark.transfer.basis import Bases
from cait_finetune.benchmark.transfer.cell import LONGER, METHODS, Cell
from cait_finetune.benchmark.transfer.picture import draw
from cait_finetune.benchmark.transfer.readme import Passage
from cait_finetune.benchmark.transfer.results import Comparison, Results
from cait_finetune.benchmark.transfer.run import run_all
from cait_finetune.benchmark.transfer.table import table
from cait_finetune.cli.hydra_app import configure
from cait_finetune.config.places import expanded_path
from cait_finetune.data.opening import open_source
from cait_finetune.errors import bad_value

#: Steps that take about as long as what each run does besides: its graphs, its score.
_BESIDES = 250
_MADE_HERE = ("digits", "procedural")  # sources that `data_dir` says nothing of


@dataclass
class TransferConfig:
    """The keys of the command: each of `methods` on each of `shares` of the training images.

    Each is `seeds` runs of `epochs` passes over the images, but of at least `least_steps` each; a seed
    draws the images, the head's weights and the order. `data_dir` is where TFDS prepared the sets that
    are not made on the spot. As many as `processes` run side by side; 0 is one for each core. What is
    finished is kept in `out`, and not made again while the model, its pretrained weights, the images and
    the whole configuration are the same: a comparison that was cut off goes on. `readme` is a Markdown
    file whose passage ``<!-- transfer -->`` … ``<!-- /transfer -->`` is written anew.
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
    readme: str | None = None


SCHEMA = TransferConfig


def check(config: TransferConfig) -> None:
    """Everything that can be wrong, before the first run.

    Raises:
        UserError: something is.
    """
    check_choices("methods", config.methods, tuple(METHODS))
    for key in ("seeds", "epochs", "least_steps"):
        at_least(key, getattr(config, key))
    for key in ("datasets", "shares"):
        at_least(key, len(getattr(config, key)), "value")
    for share in config.shares:
        if not 0 < share <= 1:
            raise bad_value("shares", share, "shares above 0, at most 1: 0.05 is 5 %")
    thread_count(config.processes, "processes")
    for dataset in config.datasets:
        for method in config.methods:
            composed = configure(*_cell(config, dataset, method, 1.0, 0, 1).words)
            models.check(composed.model)
        if composed.dataset.multi_label or composed.dataset.evaluation_only:
            raise bad_value("datasets", dataset, "sets to train on, with one label for each image")
    if config.readme:
        Passage(expanded_path("readme", config.readme), "transfer").check()


def report(config: TransferConfig, console: Console) -> Report:
    """Make the runs that are not made yet, and compare all.

    Raises:
        UserError: a data set cannot be opened, or a run fails; what is finished is kept.
    """
    results = Results(expanded_path("out", config.out) / "transfer_runs.jsonl", Bases())
    grids = {dataset: list(_grid(config, dataset)) for dataset in config.datasets}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"),
               TextColumn("{task.fields[runs]}"), TimeRemainingColumn())  # fmt: skip
    cells = [cell for grid in grids.values() for cell in grid]
    missing = [cell for cell in cells if cell not in results]
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=sum(map(_effort, missing)), runs="")
        count = len(cells) - len(missing)
        for cell, result in run_all(missing, thread_count(config.processes)):
            results.add(cell, result)
            count += 1
            progress.update(bar, advance=_effort(cell), description=str(cell),
                            runs=f"{count}/{len(cells)} runs")  # fmt: skip
    comparisons = [_compare(config, dataset, grid, results) for dataset, grid in grids.items()]
    text = "\n".join(
        [_explained(config), *map(table, comparisons), footnote(len(cores()), timm=False)]
    )
    picture = partial(draw, comparisons)
    if config.readme:
        Passage(expanded_path("readme", config.readme), "transfer").write(text, picture)
    figures = {
        "machine": machine(timm=False),
        "runs": [
            {"command": " ".join(cell.words), **dataclasses.asdict(results[cell])} for cell in cells
        ],
    }
    return Report(text, figures, picture)


def _grid(config: TransferConfig, dataset: str) -> Iterator[Cell]:
    """All runs on a data set, the shares as long as their images ask for."""
    for share in sorted(set(config.shares)):
        composed = configure(*_cell(config, dataset, config.methods[0], share, 0, 1).words)
        images = open_source(composed.dataset).sizes["train"]
        steps = max(config.least_steps, math.ceil(images / composed.train.batch_size))
        for method in config.methods:
            for seed in range(config.seeds):
                yield _cell(config, dataset, method, share, seed, steps)


def _cell(
    config: TransferConfig, dataset: str, method: str, share: float, seed: int, steps: int
) -> Cell:
    made_here = configure(f"dataset={dataset}").dataset.source in _MADE_HERE
    return Cell(
        dataset,
        config.model,
        method,
        share,
        seed,
        epochs=config.epochs * LONGER.get(method, 1),
        steps_per_epoch=steps,
        data_dir=None if made_here else config.data_dir,
    )


def _effort(cell: Cell) -> int:
    """About how long a run takes, for the time that remains."""
    return _BESIDES + cell.steps


def _compare(
    config: TransferConfig, dataset: str, grid: list[Cell], results: Results
) -> Comparison:
    def of(method: str, share: float) -> list[float]:
        chosen = [cell for cell in grid if (cell.method, cell.share) == (method, share)]
        return [100 * results[cell].test for cell in chosen]

    shares = sorted(set(config.shares))
    images = [next(results[cell].images for cell in grid if cell.share == one) for one in shares]
    methods = dict.fromkeys(config.methods)
    test = {method: np.array([of(method, share) for share in shares]) for method in methods}
    return Comparison(dataset, shares, images, test)


def _explained(config: TransferConfig) -> str:
    longer = "".join(
        f"; *{name}*: {config.epochs * LONGER[name]} passes"
        for name in config.methods
        if name in LONGER
    )
    return (
        f"Test accuracy in percent by the share of the training images, mean and range of "
        f"{config.seeds} seed{'s' * (config.seeds > 1)}.\n`{config.model}`, {config.epochs} passes of "
        f"at least {config.least_steps} steps{longer}; a linear probe is\nsolved to its optimum. The "
        "best epoch is chosen on all validation images.\n"
    )
