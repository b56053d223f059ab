"""Optimizers, learning-rate schedules, the parameter table, and the phases of tuning methods."""
