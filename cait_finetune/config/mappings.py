"""OmegaConf's functions, typed for a configuration that is a mapping. OmegaConf's types allow lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cait_finetune.errors import reason

#: Errors that OmegaConf raises for a file or a value that it cannot read.
UNREADABLE = (OmegaConfBaseException, YAMLError, OSError, ValueError)


def load(path: Path) -> DictConfig:
    """Return the configuration in a YAML file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, or is no mapping. The message is one line.
    """
    try:
        loaded = OmegaConf.load(path)
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise ValueError(reason(error)) from error
    if not isinstance(loaded, DictConfig):
        raise ValueError("it has no keys")
    return loaded


def merge(*configs: Any) -> DictConfig:
    """Merge several configurations into one. Later values replace earlier values."""
    return cast("DictConfig", OmegaConf.merge(*configs))


def to_dict(config: Any, resolve: bool = False) -> dict[str, Any]:
    """Return a configuration as nested dictionaries.

    Args:
        resolve: replace interpolations by their values.
    """
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=resolve))
