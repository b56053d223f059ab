"""Fine-tune CaiT image models in TensorFlow."""

import sys

from cait_finetune.api import finetune, load_run, predict
from cait_finetune.commands import refuse_module_form

__all__ = ["finetune", "load_run", "predict"]

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # ``python -m cait_finetune.NAME`` imports this package first
    refuse_module_form(sys.orig_argv)
