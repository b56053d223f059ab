"""Import messages appear only if the import fails. No writable disk is needed."""

from __future__ import annotations

import os
import tempfile

import pytest

from cait_tf.quiet import quiet_imports


def failing() -> None:
    with quiet_imports():
        os.write(2, b"the reason")
        raise ZeroDivisionError


def test_import_messages_appear_only_if_the_import_fails(capfd):
    with quiet_imports():
        os.write(2, b"chatter")
    assert capfd.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        failing()
    assert capfd.readouterr().err == "the reason"


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no files in memory here")
def test_no_writable_disk_is_needed(monkeypatch):
    def refused(*_, **__):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    reached = False
    with quiet_imports():
        reached = True
    assert reached
