"""timm's loader as a contestant: in a process of its own, which TensorFlow has not been in."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from cait_finetune.errors import UserError

#: Of each row of the table: what timm's ``create_loader`` is given.
OPTIONS: dict[str, dict[str, Any]] = {
    "crop and flip": {
        "is_training": True,
        "scale": (0.08, 1.0),
        "ratio": (3 / 4, 4 / 3),
        "hflip": 0.5,
        "color_jitter": None,
    },
    "RandAugment and erasing": {
        "is_training": True,
        "scale": (0.08, 1.0),
        "ratio": (3 / 4, 4 / 3),
        "hflip": 0.5,
        "color_jitter": None,
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "re_prob": 0.25,
        "re_mode": "pixel",
    },
    "evaluation": {"is_training": False, "crop_pct": 1.0},
}

_batches: Iterator  # in the process of its own


class TimmInput:
    """Images a second of timm's loader with worker processes, row by row.

    Raises:
        UserError: timm or torchvision is not installed.
    """

    def __init__(self, root: str, size: int, batch_size: int, workers: int) -> None:
        self._arguments = (root, size, batch_size, workers)
        self._process: ProcessPoolExecutor | None = None

    def begin(self, row: str) -> str:
        """Start a row's loader; returns timm's version."""
        self.end()
        self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self._process.submit(_begin, row, *self._arguments).result()

    def measure(self, warmup: int, batches: int) -> float:
        """Images a second over so many batches, after some that do not count."""
        return self._process.submit(_measure, warmup, batches).result()

    def end(self) -> None:
        """Stop the process and its workers."""
        if self._process:
            self._process.shutdown()
            self._process = None


def _begin(row: str, root: str, size: int, batch_size: int, workers: int) -> str:
    try:
        import timm
        from timm.data import create_dataset, create_loader
    except ImportError as error:
        raise UserError(
            f"timm: got {error}, expected timm and torchvision to compare with\n  "
            "pip install 'cait-finetune[benchmark]', or add timm=false"
        ) from error
    import torch

    torch.set_num_threads(workers)
    options = OPTIONS[row]
    dataset = create_dataset("", root, is_training=options["is_training"])
    loader = create_loader(
        dataset,
        input_size=(3, size, size),
        batch_size=batch_size,
        interpolation="bicubic",
        num_workers=workers,
        persistent_workers=True,
        device=torch.device("cpu"),
        **options,
    )
    global _batches
    _batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return timm.__version__


def _measure(warmup: int, batches: int) -> float:
    for _ in range(warmup):
        next(_batches)
    begin, images = time.perf_counter(), 0
    for _ in range(batches):
        images += len(next(_batches)[0])
    return images / (time.perf_counter() - begin)
