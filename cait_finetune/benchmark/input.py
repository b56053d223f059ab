"""``python -m cait_finetune benchmark input``: images a second into the model, beside timm's loader."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cait_finetune.benchmark.pictures import write_pictures
from cait_finetune.benchmark.report import Report, markdown
from cait_finetune.benchmark.rounds import Speeds, in_turn, ratio
from cait_finetune.benchmark.task import at_least
from cait_finetune.benchmark.timm_input import TimmInput
from cait_finetune.config import AugmentConfig, DatasetConfig
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.own_images.files import Files, FileSource
from cait_finetune.data.pipeline import evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing

#: The rows of the table: what is done to the images, or None for evaluation.
_CROP = AugmentConfig(crop_scale=[0.08, 1.0], crop_ratio=[3 / 4, 4 / 3], flip=0.5)
ROWS: dict[str, AugmentConfig | None] = {
    "crop and flip": _CROP,
    "RandAugment and erasing": dataclasses.replace(_CROP, rand_operations=2, erasing=0.25),
    "evaluation": None,
}


@dataclass
class InputConfig:
    """The keys of the command: `count` JPEGs, shorter side `side`, are read as `size` pixels."""

    count: int = 2048
    side: int = 256
    size: int = 224
    batch_size: int = 64
    batches: int = 48  # of a measurement: in a second timm alone varies by 30 %
    warmup: int = 8
    rounds: int = 5
    workers: int = 2  # of timm's loader
    timm: bool = True
    out: str = "benchmark_input"


SCHEMA = InputConfig


def check(config: InputConfig) -> None:
    """Whether there is something to count.

    Raises:
        UserError: there is not.
    """
    for key in ("count", "side", "size", "batch_size", "batches", "rounds"):
        at_least(key, getattr(config, key))


@dataclass(frozen=True)
class Row:
    """What was measured for one kind of work."""

    name: str
    ours: Speeds
    timm: Speeds | None

    @property
    def ratio(self) -> float | None:
        """Ours to timm's."""
        return ratio(self.ours, self.timm) if self.timm else None


def report(config: InputConfig, console: Console) -> Report:
    """Measure all rows.

    Raises:
        UserError: timm is wanted and not installed.
    """
    rows = measure_input(config, console)
    figures = [dataclasses.asdict(row) | {"ratio": row.ratio} for row in rows]
    return Report(table(rows), {"rows": figures})


def measure_input(config: InputConfig, console: Console) -> list[Row]:
    """The rows of the table.

    Raises:
        UserError: timm is wanted and not installed.
    """
    rows = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        bar = progress.add_task("pictures", total=len(ROWS) * config.rounds * (1 + config.timm))
        paths = write_pictures(Path(folder), config.count, config.side)
        theirs = TimmInput(folder, config.size, config.batch_size, config.workers)
        try:
            for name, augmentation in ROWS.items():
                progress.update(bar, description=name)
                batches = itertools.chain.from_iterable(
                    itertools.repeat(_batches(paths, config, augmentation))
                )
                contestants = {"ours": _measurement(batches, config)}
                if config.timm:
                    theirs.begin(name)
                    contestants["timm"] = lambda: theirs.measure(config.warmup, config.batches)
                speeds = in_turn(contestants, config.rounds, lambda: progress.advance(bar))
                rows.append(Row(name, speeds["ours"], speeds.get("timm")))
        finally:
            theirs.end()
    return rows


def _batches(
    paths: list[Path], config: InputConfig, augmentation: AugmentConfig | None
) -> tf.data.Dataset:
    classes = sorted({path.parent.name for path in paths})
    names = np.array([str(path) for path in paths])
    labels = np.array([classes.index(path.parent.name) for path in paths], np.int32)
    source = FileSource(
        class_names=tuple(classes),
        sizes={"train": len(paths)},
        files={"train": Files(names, names, labels)},
    )
    preprocessing = Preprocessing(config.size, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
    corrupt = CorruptImages("stop")
    if augmentation is None:
        return evaluation_batches(
            source, "train", preprocessing, config.batch_size, corrupt, careful=False
        )
    dataset = DatasetConfig(name="benchmark", data_dir=None)
    return train_batches(
        source, dataset, augmentation, preprocessing, config.batch_size, 0, corrupt, careful=False
    )


def _measurement(batches: Iterator, config: InputConfig) -> Callable[[], float]:
    def measure() -> float:
        for _ in range(config.warmup):
            next(batches)
        begin = time.perf_counter()
        for _ in range(config.batches):
            next(batches)
        return config.batches * config.batch_size / (time.perf_counter() - begin)

    return measure


def table(rows: list[Row]) -> str:
    """As Markdown: images per second, median and range of the rounds."""
    cells = []
    for row in rows:
        compared = [str(row.timm), f"{row.ratio:.2f}×"] if row.timm else ["—", "—"]
        cells.append([row.name, str(row.ours), *compared])
    return markdown(["images", "ours, img/s", "timm, img/s", "ratio"], cells)
