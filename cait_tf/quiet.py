"""Keep the start-up chatter of TensorFlow's C++ parts off the user's screen."""

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
    """Inside, what is written to the process's standard error is kept, and shown only on failure.

    TensorFlow logs before its log level can be set, from C++, so the file descriptor is redirected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with _scratch() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except KeyboardInterrupt:  # which has its own line
            raise
        except BaseException:
            chatter.seek(0)
            with contextlib.suppress(OSError):  # a console that is gone
                os.write(saved, chatter.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _scratch() -> IO[bytes]:
    """A file without a name: in memory where the system can, as a container may have no writable disk."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("chatter"), "w+b")
    return tempfile.TemporaryFile()
