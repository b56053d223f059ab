"""Is each file an image, as far as its first bytes tell: what costs next to nothing before training.

Whether a file is whole shows when it is decoded. A JPEG's end marker would not tell: cameras and
telephones append previews, videos and tables of their own to it.
"""

from __future__ import annotations

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
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)

_SHOWN = 5
_HEAD = 132  # bytes: as far as DICOM's mark
_THREADS = 32  # most of the time they wait for a disk or a network
_AT_A_TIME = 256  # files: a future for each of a million is slower than the files
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # lengths that exist, of the second one

T = TypeVar("T")
U = TypeVar("U")


def inspected(paths: Sequence[str], ids: Sequence[str], on_corrupt: str) -> np.ndarray:
    """The bytes of each file, ``(N,)``; -1 for one that is no image that can be decoded.

    Those are warned of if `on_corrupt` is ``skip``.

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
    """How many bytes it has, or in words what is wrong with it."""
    try:
        with storage.opened(path) as file:
            remote = storage.is_remote(path)
            size = file.size() if remote else os.fstat(file.fileno()).st_size
            head = file.read(_HEAD) if size else b""
    except OSError as error:
        return error.strerror or str(error)
    except tf.errors.OpError as error:
        return str(error).splitlines()[0]
    if not size:
        return "empty"
    return size if _is_image(head) else _stranger(head)


def _is_image(head: bytes) -> bool:
    if head[:2] == b"BM":  # two letters that a text may begin with
        return int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))


def _stranger(head: bytes) -> str:
    """What a file is that is none of those images."""
    marks = {
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"8BPS": "Photoshop",
        b"%PDF": "PDF",
        b"PK\3\4": "ZIP",
        b"\x1f\x8b": "gzip",
        b"\0\0\1\0": "an icon",
        b"\0\0\0\x0cjP  ": "JPEG 2000",
        b"\0\0\0\x0cJXL ": "JPEG XL",
        b"\xff\x0a": "JPEG XL",
        b"version https://git-lfs": "a Git LFS pointer: git lfs pull fetches the image",
    }
    for mark, kind in marks.items():
        if head.startswith(mark):
            return kind
    if head[4:8] == b"ftyp":
        brands = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF"}
        return brands.get(head[8:11], "a video")
    if head[128:132] == b"DICM":
        return "DICOM"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if text.startswith((b"<?xml", b"<svg")):
        return "SVG or other XML"
    if not head.strip(b"\0"):
        return "zeros"
    printable = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return "text" if printable and head.isascii() else "no image"
