"""Content hashes of files, kept in the user's cache: a file that did not change is read once."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from cait_finetune.data.label_index import cache_directory
from cait_tf.atomic import atomic_open
from cait_tf.places import warn_not_kept

logger = logging.getLogger(__name__)

#: A file system's clock ticks every few milliseconds: a file may be written twice in one tick.
_SETTLED = 2 * 10**9  # nanoseconds
_FORMAT = 2

#: Of a file, as `storage.size_and_times`.
Stat = tuple[int, ...]


class HashCache:
    """The hashes of files below one folder, each with the size and times that the file had.

    A cache that cannot be read or written costs time and nothing else.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        # What the first and the last path in order share, all share.
        ends = [path.split("/")[:-1] for path in (min(paths), max(paths))]
        root = "/".join([str(_FORMAT), *os.path.commonprefix(ends)])
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
        directory = cache_directory()
        self._file = directory.with_name("contents") / f"{digest}.npz" if directory else None
        self._known = self._load()
        self._began = time.time_ns()

    def get(self, path: str, stat: Stat) -> int | None:
        """The hash of a file that has not changed since it was read; `None` for any other."""
        row = self._known.get(path)
        return row[1] if row and row[0] == stat else None

    def keep(self, stats: Sequence[Stat], hashes: Sequence[int]) -> None:
        """Keep the hashes of all files, -1 for none.

        Files that were written a moment ago are left out: they may be written again with the same times.
        """
        kept = {
            path: (stat, content)
            for path, stat, content in zip(self._paths, stats, hashes, strict=True)
            if content >= 0 and max(stat[1:3]) < self._began - _SETTLED
        }
        if kept.items() <= self._known.items():
            return
        if self._file is None:
            warn_not_kept()
            return
        rows = {**self._known, **kept}
        try:
            columns = {
                "paths": np.array([os.fsencode(path) for path in rows]),
                # A ValueError where a table names files of a disk and of a bucket, which has fewer times.
                "stats": np.array([stat for stat, _ in rows.values()], np.int64),
                "hashes": np.array([content for _, content in rows.values()], np.int64),
            }
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_open(self._file, "wb") as file:
                np.savez_compressed(file, **columns)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                warn_not_kept(error)

    def _load(self) -> dict[str, tuple[Stat, int]]:
        if self._file is None:
            return {}
        try:
            with np.load(self._file, allow_pickle=False) as file:
                columns = [file[name].tolist() for name in ("paths", "stats", "hashes")]
            return {
                os.fsdecode(path): (tuple(stat), content)
                for path, stat, content in zip(*columns, strict=True)
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            logger.debug("%s is written anew: %s", self._file, error)
            return {}
