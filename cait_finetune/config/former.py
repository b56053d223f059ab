"""Convert configurations of earlier versions to the form of this version."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf


def with_head(saved: DictConfig) -> DictConfig:
    """Return a run's configuration with the keys of the head that earlier versions did not have.

    The runs of those versions have a linear head on the class token.
    """
    missing = {
        key: value
        for key, value in (("head.name", "linear"), ("head.pooling", "token"))
        if OmegaConf.select(saved, key) is None
    }
    if not missing:
        return saved
    updated = saved.copy()
    for key, value in missing.items():
        OmegaConf.update(updated, key, value, force_add=True)
    return updated


def with_task(saved: DictConfig) -> DictConfig:
    """Return a run's configuration with `task.name` in place of ``dataset.multi_label``."""
    dataset = saved.get("dataset")
    if not isinstance(dataset, DictConfig) or "multi_label" not in dataset:
        return saved
    updated = saved.copy()
    several = updated.dataset.pop("multi_label")
    name = "multi_label" if several else "classification"
    OmegaConf.update(updated, "task.name", name, force_add=True)
    return updated
