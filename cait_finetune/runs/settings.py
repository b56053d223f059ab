"""Record a run's initial settings, so that an edited ``config.yaml`` is noticed."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cait_finetune.config.mappings import load, to_dict
from cait_finetune.errors import bad_value
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.resume import FREE
from cait_finetune.runs.run_id import read_identity

#: Key of the settings in ``identity.json``.
KEY = "settings"
#: Keys that may change besides `FREE`: paths of files.
_PLACES = ("*_dir", "dataset.splits.file", "model.weights*")


def settings(config: DictConfig) -> dict[str, Any]:
    """Return the values that the run's results depend on: all keys except `FREE` and paths.

    ``identity.json`` records `model.weights` beside these values, because the path may change.
    """
    return {
        key: value
        for key, value in flat(to_dict(config)).items()
        if not any(fnmatch(key, pattern) for pattern in (*FREE, *_PLACES))
    }


def check_settings(run: RunDirectory, key: str) -> None:
    """Check that ``config.yaml`` still holds the values with which the run began.

    A run of an earlier version has no record and passes.

    Args:
        key: the key at the start of the message.

    Raises:
        UserError: a value was edited, or ``config.yaml`` or ``identity.json`` cannot be read.
    """
    identity = read_identity(run)
    began = identity.get(KEY)
    if not began or not run.config.is_file():
        return
    try:
        config = load(run.config)
        now = settings(config)
    except ValueError as error:
        raise bad_value(
            key, f"{run.config} ({error})", "a configuration that can be read"
        ) from error
    # The model card and the report name the initial weights, and the card their licence.
    if "weights" in identity:
        began = {**began, "model.weights": identity["weights"]["source"]}
        now["model.weights"] = OmegaConf.select(config, "model.weights")
    edited = [
        f"{name}: {now.get(name, 'left out')} (at the start: {began.get(name, 'no such key')})"
        for name in [*now, *sorted(began.keys() - now.keys())]
        if name not in now or name not in began or now[name] != began[name]
    ]
    if edited:
        raise bad_value(
            key,
            f"{run.config}, edited since the run began: {'; '.join(edited)}",
            "the values that its weights were trained with",
            "Undo the edit, or start a new run.",
        )


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested configuration to dotted keys: ``{"dataset.fold": 0, …}``."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
