"""Messages for errors of the operating system."""

from __future__ import annotations

import errno
import os

import pytest

from cait_tf.os_errors import explain_os_error


@pytest.mark.parametrize(
    ("number", "expected", "hint"),
    [
        (errno.ENOENT, "a path that exists", "Correct the path"),
        (errno.ENOTDIR, "a path that exists", "Correct the path"),
        (errno.ENOSPC, "enough space", "Free some space"),
        (errno.EDQUOT, "enough space", "Free some space"),
        (errno.EFBIG, "enough space", "raise the limit"),
        (errno.EACCES, "may read or write", "permissions"),
        (errno.EPERM, "may read or write", "permissions"),
        (errno.EROFS, "may read or write", "another place"),
        (errno.EBUSY, "no other process uses", "Wait"),
        (errno.EADDRINUSE, "no other process uses", "Wait"),
        (errno.EISDIR, "another path", "free"),
        (errno.EMFILE, "open files", "ulimit"),
        (errno.ENOEXEC, "operating system", ""),
    ],
)
def test_each_error_number_has_an_expectation_and_a_hint(number, expected, hint):
    error = OSError(number, os.strerror(number), "/some/where")
    first, *rest = explain_os_error(error).splitlines()
    assert first.startswith(f"/some/where: got {os.strerror(number)}, expected ")
    assert expected in first
    assert hint in "".join(rest)
    assert number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "space" not in "".join(rest)


def test_the_message_names_both_paths():
    error = OSError(errno.EACCES, "Permission denied", "/a", None, "/b")
    assert explain_os_error(error).startswith("/a → /b: got Permission denied")


def test_an_error_without_a_path_names_the_system():
    assert explain_os_error(OSError(errno.ENOSPC, "No space left on device")).startswith(
        "system: got No space left on device, expected enough space"
    )


def test_an_error_without_a_number_keeps_its_text():
    assert explain_os_error(OSError("the file is truncated")) == "the file is truncated"
    assert explain_os_error(ConnectionError()) == "ConnectionError"
