"""``python -m cait_finetune [COMMAND] key=value …``."""

import sys


def main() -> None:
    """Entry point. The imports take seconds, in which a command can be interrupted."""
    try:
        from cait_finetune.cli.loading import begin_loading

        begin_loading()
        from cait_finetune.commands import run_command

        run_command()
    except KeyboardInterrupt:  # on the first lines, or after the command
        print("cait_finetune: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
