"""``python -m cait_finetune.report run=RUN_DIRECTORY``: the report of a run, again or so far."""

from cait_finetune.report_run import main

if __name__ == "__main__":
    main()
