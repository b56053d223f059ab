"""Is each file an image, and which one: what the ends of a file tell before training.

Whether a file is whole shows when it is decoded. A JPEG's end marker would not tell: cameras and
telephones append previews, videos and tables of their own to it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from cait_finetune.console import plain_console
from cait_finetune.data.own_images import storage
from cait_finetune.data.own_images.signatures import HEAD, fault
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)

_SHOWN = 5
_TAIL = 4096  # bytes
# Most of the time they wait for a disk or a network; where they do not, more of them only wait for Python.
_THREADS = min(32, 4 * (os.cpu_count() or 8))
_AT_A_TIME = 256  # files: a future for each of a million is slower than the files

T = TypeVar("T")
U = TypeVar("U")


def inspected(paths: Sequence[str], ids: Sequence[str], on_corrupt: str) -> np.ndarray:
    """Hash the content of each file, and check that it begins like an image that can be decoded.

    Returns:
        ``(N,)`` int64: the content hashes; -1 for a file that cannot be decoded. These are warned of if
        `on_corrupt` is ``skip``.

    Raises:
        UserError: there are such files, and `on_corrupt` is ``stop``.
    """
    found = in_threads("checking files (dataset.check=false leaves that out)", _look, paths)
    bad = [(name, what) for name, what in zip(ids, found, strict=True) if isinstance(what, str)]
    if bad:
        shown = ", ".join(f"{name} ({what})" for name, what in bad[:_SHOWN])
        shown += f", … ({len(bad):,} in all)" if len(bad) > _SHOWN else ""
        if on_corrupt == "stop":
            raise bad_value(
                "dataset.data_dir",
                f"{len(bad):,} file{'s' * (len(bad) > 1)} that cannot be read: {shown}",
                "images that TensorFlow decodes (JPEG, PNG, GIF, WebP, BMP)",
                "mend or remove what is wrong, or add dataset.on_corrupt=skip",
            )
        logger.warning("left out as they cannot be read: %s", shown)
    return np.array([-1 if isinstance(what, str) else what for what in found], np.int64)


def in_threads(words: str, work: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """What `work` makes of each, in order; on a terminal with a bar while it lasts."""
    groups = [items[at : at + _AT_A_TIME] for at in range(0, len(items), _AT_A_TIME)]
    console = plain_console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} files/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    done: list[U] = []
    with ThreadPoolExecutor(_THREADS) as pool, progress:
        task = progress.add_task(words, total=len(items), rate="–")
        for group in pool.map(lambda group: [work(item) for item in group], groups):
            done += group
            speed = progress.tasks[task].speed
            progress.update(task, advance=len(group), rate=f"{speed:,.0f}" if speed else "–")
    return done


def _look(path: str) -> int | str:
    """The content hash of a file, or in words what is wrong with it."""
    try:
        size, head, tail = storage.ends(path, HEAD, _TAIL)
        wrong = fault(head) if size else "empty"
        return wrong or _content_hash(path, size, head, tail)
    except OSError as error:
        return error.strerror or str(error)
    except tf.errors.OpError as error:
        return str(error).splitlines()[0]


def _content_hash(path: str, size: int, head: bytes, tail: bytes) -> int:
    """63 bits over the size, the first and the last bytes of an image file.

    Compressed pictures that differ anywhere differ there: a PNG ends with a checksum of its pixels, and in
    the other formats a changed pixel moves all bits after it. A BMP is not compressed, and is read whole.
    """
    if head.startswith(b"BM"):
        with storage.opened(path) as file:
            tail = file.read()
    digest = hashlib.blake2b(b"%d %b%b" % (size, head, tail), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
