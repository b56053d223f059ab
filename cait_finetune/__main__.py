"""``python -m cait_finetune``."""

import sys


def main() -> None:
    """Entry point. The imports take seconds, in which a job can be preempted or interrupted too."""
    try:
        from cait_finetune.loading import begin_loading

        begin_loading()
        from cait_finetune.train.interruption import preemptible

        with preemptible():
            from cait_finetune import cli

            cli.main()
    except KeyboardInterrupt:  # on the first lines, or after the command
        print("cait_finetune: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
