"""``python -m cait_finetune``."""

from cait_finetune.cli import main

main()
