"""What the commands of this package have in common: how a mistake is shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from cait_tf.errors import CaiTError
from cait_tf.quiet import quiet_imports


def run_command(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], object]
) -> None:
    """Parse the command line and work; what a user can mend is one message and exit status 1."""
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    arguments = parser.parse_args()
    try:
        with quiet_imports():
            import keras  # noqa: F401  its backend starts here, and talks
        work(arguments)
    except (CaiTError, ImportError, OSError) as error:
        if arguments.debug:
            raise
        if isinstance(error, OSError) and error.filename:
            sys.exit(
                f"cait_tf: {error.filename}: got {error.strerror}, expected a path that can be read "
                "or written"
            )
        sys.exit(f"cait_tf: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def peak_memory() -> str:
    """The most memory this process has had resident so far, such as ``3.1 GB``."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak * (1 if sys.platform == 'darwin' else 1024) / 1e9:.1f} GB"  # Linux counts KiB
