"""OmegaConf's functions for a configuration that is a mapping. OmegaConf's types allow lists too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf


def load(path: Path) -> DictConfig:
    """Return the configuration in a YAML file."""
    return cast("DictConfig", OmegaConf.load(path))


def merge(*configs: Any) -> DictConfig:
    """Return one configuration of several. Later values replace earlier ones."""
    return cast("DictConfig", OmegaConf.merge(*configs))


def to_dict(config: Any, resolve: bool = False) -> dict[str, Any]:
    """Return a configuration as nested dictionaries.

    Args:
        resolve: replace interpolations by their values.
    """
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=resolve))
