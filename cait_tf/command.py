"""Prepare the process of a command before its other imports."""

from __future__ import annotations

from cait_tf.places import prepare_home
from cait_tf.streams import prepare_streams, restart_in_utf8


def prepare_process() -> None:
    """Make encoding, standard streams and home directory usable. Call it before other imports."""
    restart_in_utf8()
    prepare_streams()
    prepare_home()
