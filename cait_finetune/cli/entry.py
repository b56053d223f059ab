"""Begin and end a command: prepare its process, and print an error as one message."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sys
from collections.abc import Iterator

from cait_finetune.cli.loading import INTERRUPTED, end_loading
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runtime.console import log_to, plain_console
from cait_finetune.runtime.keras_backend import use_tensorflow
from cait_finetune.runtime.signals import preemptible
from cait_tf.command import prepare_process
from cait_tf.errors import CaiTError
from cait_tf.os_errors import explain_os_error

_FULL_ERROR = "HYDRA_FULL_ERROR"
_AGAIN = "what was finished is kept; give the same command again"


@dataclasses.dataclass
class Errors:
    """Whether a `UserError`, a `CaiTError` or an `OSError` keeps its traceback."""

    tracebacks: bool


@contextlib.contextmanager
def command(name: str, *, importing: bool = False, any_backend: bool = False) -> Iterator[Errors]:
    """Run a command in the block. Every ``main`` does its work inside.

    In the block, file names are UTF-8. The standard streams replace characters that they cannot encode, and
    a closed pipe is no error. A temporary directory replaces a missing home directory. Keras runs on
    TensorFlow, unless `any_backend` is true.

    A `UserError`, a `CaiTError` or an `OSError` becomes one message and exit status 1. Ctrl-C becomes
    one line and status 130. SIGTERM and SIGHUP become one line and status 75. Other errors keep the traceback.
    With ``HYDRA_FULL_ERROR=1``, or after the command sets `Errors.tracebacks`, a `UserError`, a `CaiTError`
    and an `OSError` keep the traceback, too.

    Args:
        name: the start of every message, such as ``cait_finetune export``.
        importing: whether the command itself calls `end_loading` after its long imports.
        any_backend: whether Keras may run on another backend than TensorFlow.

    Yields:
        The setting for tracebacks, which the command may change.
    """
    # Read HYDRA_FULL_ERROR now: `run_with_hydra` later sets it to 1 for Hydra.
    shown = Errors(os.environ.get(_FULL_ERROR) == "1")
    if not importing:
        end_loading()
    prepare_process()
    log_to(plain_console(stderr=True))
    with preemptible(name, _AGAIN), _messages(name, shown):
        if not any_backend:
            use_tensorflow()
        yield shown


@contextlib.contextmanager
def _messages(name: str, shown: Errors) -> Iterator[None]:
    """Exit with one message and a status after a user's mistake, an `OSError` or Ctrl-C."""
    try:
        yield
    except (UserError, CaiTError) as error:
        if shown.tracebacks:
            raise
        sys.exit(f"{name}: {error}")
    except OSError as error:
        if shown.tracebacks:
            raise
        sys.exit(f"{name}: {deleted_directory(error) or explain_os_error(error)}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(INTERRUPTED)


def deleted_directory(error: OSError) -> UserError | None:
    """Return the message for a deleted working directory, or `None` for any other error.

    The system's own error names no path.
    """
    if error.filename is not None or error.errno != errno.ENOENT:
        return None
    try:
        os.getcwd()
    except OSError:
        return bad_value(
            "working directory",
            f"{os.environ.get('PWD', 'a directory')}, which was deleted",
            "a directory that exists",
            "Change to another directory with cd, then give the command again",
        )
    return None
