"""Classify image files with a run's export or checkpoint."""
