"""Guard the life of a run: lock its directory, record signals, and explain errors of the system."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from cait_finetune.config import Config
from cait_finetune.config.advice import advise
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.train.cluster import is_first_worker
from cait_finetune.train.interruption import Interruption
from cait_tf.os_errors import explain_os_error

_PATH = re.compile(r"(?:/[^/;:'\"\s]+)+")


@contextlib.contextmanager
def life(config: Config, run: RunDirectory) -> Iterator[Interruption]:
    """Own the run's directory and record signals inside the block.

    Raises:
        UserError: another process owns the directory; the system refused to read or write a file; or
            TensorFlow found the disk full.
    """
    chief = is_first_worker(config.distribution)
    key = "resume" if config.resume else "hydra.run.dir"
    try:
        with (
            Interruption(run.root if config.resume else None) as interruption,
            run.owned(key) if chief else contextlib.nullcontext(),
        ):
            yield interruption
    except OSError as error:
        if error.filename is None:
            raise
        raise _explained(error, run) from error
    except tf.errors.OpError as error:
        full = os.strerror(errno.ENOSPC)
        if full not in str(error):
            raise
        path = _PATH.search(str(error))
        raise _explained(OSError(errno.ENOSPC, full, path and path[0]), run) from error


def _explained(error: OSError, run: RunDirectory) -> UserError:
    then = f"\n  Then continue with {advise('resume', run.root)}" if run.config.is_file() else ""
    return UserError(f"{explain_os_error(error)}{then}")
