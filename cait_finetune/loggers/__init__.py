"""Loggers that a run can use in addition to its own files: W&B, TensorBoard and CSV."""
