"""Fine-tune CaiT image models in TensorFlow."""

from cait_finetune.api import finetune, load_run, predict

__all__ = ["finetune", "load_run", "predict"]

__version__ = "0.1.0"
