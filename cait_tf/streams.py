"""Make the three standard streams of a command usable, whatever they are connected to."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Error handlers with which a text stream can write every character.
_NEVER_FAIL = ("replace", "backslashreplace", "ignore", "xmlcharrefreplace", "namereplace")


def restart_in_utf8() -> None:
    """Start the process again in Python's UTF-8 mode if file names have another encoding.

    Call it first, because the program runs again from its start. With ``LC_ALL=C PYTHONUTF8=0``
    Python cannot pass a name such as ``blé`` to the libraries that read files.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "utf-8" or not sys.executable:
        return
    if os.environ.get("PYTHONUTF8") == "1":  # an option such as -I ignores the variable
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def prepare_streams() -> None:
    """Make the standard streams usable when closed, broken, or unable to encode a character.

    The function opens the null device on a closed descriptor, so that no other file gets that
    number. The streams replace a character that the encoding lacks. When a write fails (the reader
    of a pipe has ended, the disk is full, the terminal is gone), the stream writes to the null
    device from then on. The function does not change a stream that other code has installed, such
    as a notebook's.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            _connect_to_nothing(descriptor)
    if sys.stdin is None:
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(
            io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8", errors="replace"
        )
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            prepared = _tolerant(descriptor, name, stream)
            setattr(sys, name, prepared)
            setattr(sys, f"__{name}__", prepared)


def _tolerant(descriptor: int, name: str, stream: io.TextIOWrapper | None) -> io.TextIOWrapper:
    if stream is None:
        encoding, errors, line_buffering, unbuffered = "utf-8", "replace", True, False
    else:
        raw = getattr(stream.buffer, "raw", stream.buffer)
        errors = stream.errors if stream.errors in _NEVER_FAIL else "replace"
        if type(raw) is not io.FileIO:  # already prepared, or Windows' console
            stream.reconfigure(errors=errors)
            return stream
        encoding, line_buffering = stream.encoding, stream.line_buffering
        unbuffered = stream.write_through
        descriptor = stream.fileno()
        with contextlib.suppress(OSError):
            stream.flush()
    outlet = _Outlet(descriptor, "w", closefd=False)
    outlet.name = f"<{name}>"
    return io.TextIOWrapper(
        outlet if unbuffered else io.BufferedWriter(outlet),
        encoding=encoding,
        errors=errors,
        line_buffering=line_buffering,
        write_through=unbuffered,
    )


class _Outlet(io.FileIO):
    """A descriptor that becomes the null device when a write fails."""

    def write(self, data: ReadableBuffer) -> int:
        """Write all of `data`, even if the descriptor takes only a part at a time."""
        left = whole = memoryview(data)
        try:
            while left:
                count = super().write(left)
                if count is None:  # a non-blocking pipe is full
                    select.select([], [self], [])
                left = left[count or 0 :]
        except OSError as error:
            _connect_to_nothing(self.fileno())
            if (
                self.fileno() == 1 and error.errno != errno.EPIPE
            ):  # `| head` causes EPIPE on purpose
                print(
                    f"standard output: got {error.strerror}; the command continues without it",
                    file=sys.stderr,
                )
        return len(whole)


def _connect_to_nothing(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != descriptor:
            os.dup2(nothing, descriptor)
            os.close(nothing)
        os.set_inheritable(descriptor, True)
