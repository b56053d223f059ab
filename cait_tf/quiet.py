"""Hide the start-up messages of TensorFlow's C++ code from the user."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Hide the process's standard error inside the block, and print it only if the block fails.

    TensorFlow's C++ code logs before its log level can be set, so the function redirects the file
    descriptor.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with _scratch() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except KeyboardInterrupt:  # the command prints its own line
            raise
        except BaseException:
            chatter.seek(0)
            with contextlib.suppress(OSError):  # the console may be gone
                os.write(saved, chatter.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _scratch() -> IO[bytes]:
    """Open a file without a name. Prefer memory, because a container may have no writable disk."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("chatter"), "w+b")
    return tempfile.TemporaryFile()
