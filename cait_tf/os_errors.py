"""Turn an `OSError` into a message to the user that names the path and the reason."""

from __future__ import annotations

import errno

_KINDS = (
    (
        (errno.ENOENT, errno.ENOTDIR),
        "a path that exists",
        "Correct the path, or make the folder.",
    ),
    (
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "enough space for the file",
        "Free some space, raise the limit, or choose another place.",
    ),
    (
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "a path that this user may read or write",
        "Change its permissions, or choose another place.",
    ),
    (
        (errno.EBUSY, errno.ETXTBSY, errno.EADDRINUSE, errno.EWOULDBLOCK, errno.EDEADLK),
        "a path that no other process uses",
        "Wait for the other process, or end it.",
    ),
    (
        (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
        "another path",
        "Choose a name that is free.",
    ),
    (
        (errno.EMFILE, errno.ENFILE),
        "a higher limit of open files",
        "Raise the limit: ulimit -n.",
    ),
    ((errno.ENAMETOOLONG,), "a shorter path", "Shorten the name."),
    ((errno.EIO, errno.ESTALE), "a disk that works", "Check the disk, or choose another place."),
)


def explain_os_error(error: OSError) -> str:
    """Return ``PATH: got REASON, expected …`` and a hint; without an errno the error's text."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    subject = " → ".join(names) or "system"
    if error.errno is None:
        return str(error) or type(error).__name__
    got = f"{subject}: got {error.strerror or errno.errorcode.get(error.errno, error.errno)}"
    for numbers, expected, hint in _KINDS:
        if error.errno in numbers:
            return f"{got}, expected {expected}\n  {hint}"
    return f"{got}, expected the operating system to allow it"
