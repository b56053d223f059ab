"""Benchmarks: speed of the input pipeline, speed and memory of the model, time to the first step."""
