"""``python -m cait_finetune``."""

from cait_finetune.train.interruption import preemptible


def main() -> None:
    """Entry point. What is imported takes seconds, in which a job can be preempted, too."""
    with preemptible():
        from cait_finetune import cli

        cli.main()


if __name__ == "__main__":
    main()
