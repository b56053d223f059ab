"""The list of a run's images, ``images.csv.gz``: split, id, label and content hash of each image."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

from cait_finetune.data.fingerprint import Image
from cait_tf.atomic import atomic_open


def write_images(path: Path, listed: Sequence[Image]) -> None:
    """Write the list atomically."""
    with (
        atomic_open(path, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, compresslevel=1, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", "surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(field.name for field in dataclasses.fields(Image))
        writer.writerows(dataclasses.astuple(image) for image in listed)


def is_whole(path: Path) -> bool:
    """Return whether the list of images exists and is complete."""
    try:
        with gzip.open(path) as file:
            found = last = file.read(1 << 20)
            while last:
                last = file.read(1 << 20)
        return bool(found)
    except (OSError, EOFError, zlib.error):
        return False


def read_images(path: Path) -> list[Image]:
    """Return the run's images, or [] if the list cannot be read: every image then counts as new."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as file:
            return [Image(**row) for row in csv.DictReader(file)]
    except (OSError, EOFError, zlib.error, TypeError, csv.Error):
        return []
