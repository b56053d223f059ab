"""Weights by name map: one small module a source, one place that puts tensors into models."""
