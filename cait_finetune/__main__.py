"""``python -m cait_finetune [COMMAND] key=value …``."""

import os
import signal
import sys


def main() -> None:
    """Entry point. Ctrl-C ends the command at once during the imports, which take seconds."""
    # Python drops a KeyboardInterrupt that is raised in a callback of its import system.
    signal.signal(signal.SIGINT, _stop)
    try:
        from cait_finetune.cli.loading import begin_loading

        begin_loading()
        from cait_finetune.commands import run_command

        run_command()
    except KeyboardInterrupt:  # after the command
        print("cait_finetune: interrupted", file=sys.stderr)
        sys.exit(130)


def _stop(*_: object) -> None:
    try:
        os.write(2, b"cait_finetune: interrupted before the command began\n")
    finally:  # also where the console is closed
        os._exit(130)


if __name__ == "__main__":
    main()
