"""Settle the values that depend on where and how a run was started: absolute paths, and seeds."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from cait_finetune.config.places import expanded_path

_DATA = ("dataset.data_dir", "dataset.splits.file")
_CACHES = ("dataset.cache_dir", "tuning.cache_dir", "train.compile_cache_dir")
_WEIGHTS = "model.weights"
#: Every key that holds a path.
PATH_KEYS = (*_DATA, *_CACHES, _WEIGHTS, "resume", "continue_from")
_WORDS = ("hub", "official", "pretrained", "none")


def settled(composed: DictConfig) -> DictConfig:
    """Return the configuration with absolute paths and `dataset.seed`, as a run records it.

    Relative paths start at the working directory. ``scheme://…`` stays. A resumed run without
    `dataset.seed` is from an older version, which drew by `dataset.splits.seed` alone.
    """
    settled = with_absolute_paths(composed)
    dataset = settled.dataset
    draws = [dataset.get(key) for key in ("folds", "examples_per_class", "train_share")]
    if dataset.get("seed") is None and any(draw is not None for draw in draws):
        otherwise = 0 if settled.resume is not None else settled.seed
        own = OmegaConf.select(dataset, "splits.seed")
        dataset.seed = otherwise if own is None else own
    return settled


def with_absolute_paths(composed: DictConfig) -> DictConfig:
    """Return the configuration with absolute paths.

    A cache's path keeps ``~``, because each user has their own caches.
    """
    absolute = composed.copy()
    for key in (*_DATA, *_CACHES, _WEIGHTS):
        path = OmegaConf.select(absolute, key)
        if not path or "://" in path or (key in _CACHES and path.startswith("~")):
            continue
        place = expanded_path(key, path)
        if key != _WEIGHTS or (path not in _WORDS and place.exists()):
            OmegaConf.update(absolute, key, str(place.absolute()))
    return absolute
