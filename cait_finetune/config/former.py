"""Read what earlier versions wrote in the form of this version."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf


def with_head(saved: DictConfig) -> DictConfig:
    """Return a run's configuration with ``head.name``. The runs of versions without it are linear."""
    if "head" in saved:
        return saved
    updated = saved.copy()
    OmegaConf.update(updated, "head.name", "linear", force_add=True)
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
