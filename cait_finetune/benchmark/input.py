"""``cait-finetune benchmark input``: images per second of our pipeline and timm's loader."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from cait_finetune.benchmark.comparison import OURS, OURS_TENSORFLOW, TIMM_LOADER, Row, compare
from cait_finetune.benchmark.tables import Report
from cait_finetune.benchmark.task import AUGMENTATIONS, InputTask, check_timm, check_values
from cait_finetune.errors import bad_value
from cait_finetune.runs.markdown import markdown_table
from cait_finetune.runtime.cores import cores

_OCTAVES = ((4, 60.0), (16, 30.0), (64, 12.0), (256, 5.0))  # cells per side, and contrast


@dataclass
class InputBenchmark:
    """The keys of the command. It writes `count` JPEGs whose shorter side has `side` pixels.

    Each loader reads the JPEGs as images of `size` × `size` pixels. The loaders take turns
    for `rounds` rounds: each reads `warmup` batches, then times `batches` batches. timm's loader has `workers`
    processes.
    """

    count: int = 2048
    side: int = 256
    size: int = 224
    batch_size: int = 64
    batches: int = 48  # with fewer batches the speed of timm's loader varies
    warmup: int = 8
    rounds: int = 5
    workers: int = 2
    timm: bool = True
    out: str = "benchmark_input"

    def check(self) -> None:
        """Check every key before any worker process starts; raise UserError if one is wrong."""
        check_values(self)
        if self.count % self.batch_size:  # the speed counts every batch as full
            raise bad_value("count", self.count, f"a multiple of batch_size={self.batch_size}")
        if self.timm:
            check_timm("timm", "torch", "torchvision")

    def report(self, console: Console) -> Report:
        """Measure all rows. If the system ends a task's process, a note replaces its row."""
        with tempfile.TemporaryDirectory() as folder:
            write_pictures(Path(folder), self.count, self.side)
            tasks = [
                InputTask(name, folder, self.size, self.batch_size, self.workers, len(cores()),
                          self.batches)
                for name in AUGMENTATIONS
            ]  # fmt: skip
            comparison = compare(tasks, OURS_TENSORFLOW, self, console)
        return Report(table(comparison.rows), dataclasses.asdict(comparison))


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of images per second: median and range of the rounds."""
    cells = []
    for row in rows:
        times = f"{row.ratio():.2f}×" if row.best else "—"
        theirs = str(row.speeds.get(TIMM_LOADER, "—"))
        cells.append([row.task.augmentation, str(row.speeds[OURS]), theirs, times])
    return markdown_table(["images", "ours, img/s", "timm, img/s", "ratio"], cells)


def write_pictures(directory: Path, count: int, side: int, folders: int = 4) -> list[Path]:
    """Write JPEGs with the detail and file size of photographs into class folders; return their paths.

    The JPEGs have quality 90 and an aspect ratio of 1 to 1.5.

    Args:
        count: number of JPEGs.
        side: the shorter side, in pixels.
        folders: number of class folders.
    """
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        folder = directory / f"class_{number % folders}"
        folder.mkdir(parents=True, exist_ok=True)
        long = int(side * rng.uniform(1.0, 1.5))
        size = (side, long) if rng.random() < 0.3 else (long, side)  # width, height
        paths.append(folder / f"{number:05}.jpg")
        _picture(rng, size).save(paths[-1], quality=90)
    return paths


def _picture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Return noise of several scales. As in photographs, finer detail has less contrast."""
    total = np.full((size[1], size[0], 3), rng.uniform(60, 190, 3), np.float32)
    for cells, contrast in _OCTAVES:
        noise = rng.normal(128, 40, (cells, cells, 3)).clip(0, 255).astype("uint8")
        smooth = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(smooth, np.float32) - 128) * (contrast / 40)
    return Image.fromarray(total.clip(0, 255).astype("uint8"))
