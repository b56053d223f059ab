"""Scores of a model: metrics, confidence intervals, calibration, and its saved predictions."""
