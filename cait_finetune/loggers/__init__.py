"""Loggers of a run besides its own files: W&B, TensorBoard and CSV, one or several at once."""
