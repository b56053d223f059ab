"""Shared code of the commands: prepare the process, and print an error in one message."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from types import FrameType

from cait_tf.errors import CaiTError
from cait_tf.os_errors import explain_os_error
from cait_tf.places import prepare_home
from cait_tf.quiet import quiet_imports
from cait_tf.streams import prepare_streams, restart_in_utf8


def prepare_process() -> None:
    """Make encoding, standard streams and home directory usable. Call it before other imports."""
    restart_in_utf8()
    prepare_streams()
    prepare_home()


def run_command(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], object]
) -> None:
    """Parse the command line and call `work`.

    An error that the user can correct prints one message and exits with status 1. ``--debug`` shows
    its traceback instead. An interrupt exits with status 130.
    """
    prepare_process()
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # SIGHUP is ignored under nohup
            signal.signal(number, _end)
    try:
        with quiet_imports():
            import keras  # noqa: F401  loads the backend, which logs to stderr
        work(arguments)
    except (CaiTError, ImportError, OSError) as error:
        if arguments.debug:
            raise
        words = explain_os_error(error) if isinstance(error, OSError) else error
        sys.exit(f"cait_tf: {words}")
    except KeyboardInterrupt:
        print("cait_tf: interrupted", file=sys.stderr)
        sys.exit(130)


def _end(number: int, frame: FrameType | None) -> None:
    """End the process with status 75, which asks a job scheduler to start the job again.

    `SystemExit` runs every ``finally``, so no temporary file stays. Later SIGTERM and SIGHUP are
    ignored.

    Raises:
        SystemExit: always.
    """
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    print(f"cait_tf: {signal.Signals(number).name}: give the same command again", file=sys.stderr)
    sys.exit(75)
