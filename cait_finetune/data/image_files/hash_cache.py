"""Keep content hashes of files in the user's cache, so that an unchanged file is read only once."""

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

#: A file may change twice within one tick of the file system's clock, and then has the same times.
_SETTLED = 2 * 10**9  # nanoseconds
_FORMAT = 2

#: Size and times of a file, as `storage.size_and_times` returns them.
Stat = tuple[int, ...]


class HashCache:
    """The content hashes of files below one folder, with the size and times of each file.

    If the cache cannot be read or written, the files are hashed again. There is no error.

    Args:
        paths: the paths of all files; at least one.
        bands: as in `signatures.fault`. A known hash means that a file has passed this check, so each
            kind of check has its own cache.
    """

    def __init__(self, paths: Sequence[str], bands: bool = False) -> None:
        self._paths = paths
        # The common prefix of the first and the last sorted path is the prefix of all paths.
        ends = [path.split("/")[:-1] for path in (min(paths), max(paths))]
        root = "/".join([f"{_FORMAT}{'-bands' * bands}", *os.path.commonprefix(ends)])
        digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
        directory = cache_directory()
        self._file = directory.with_name("contents") / f"{digest}.npz" if directory else None
        self._known = self._load()
        self._began = time.time_ns()

    def get(self, path: str, stat: Stat) -> int | None:
        """Return the hash of a file with unchanged size and times. `None`: changed, or not known."""
        row = self._known.get(path)
        return row[1] if row and row[0] == stat else None

    def keep(self, stats: Sequence[Stat], hashes: Sequence[int]) -> None:
        """Write the hashes of all files to the cache, except hashes of -1.

        The cache also omits files that changed less than two seconds before the cache was opened:
        such a file may change again within the same tick of the clock.
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
                # ValueError if a table lists files on a disk and in a bucket: buckets have fewer times.
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
