"""Resume a run: read its configuration and check which keys the command line changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from cait_finetune.config import Config
from cait_finetune.config.advice import advise, advise_formats
from cait_finetune.config.former import with_task
from cait_finetune.config.mappings import UNREADABLE, load, merge, to_dict
from cait_finetune.config.places import expanded_path
from cait_finetune.config.preprocessing import AUTO
from cait_finetune.config.root import without_effect
from cait_finetune.errors import UserError, bad_value, reason
from cait_finetune.runs.automatic import as_said
from cait_finetune.runs.directory import RunDirectory, forget_default_splits, read_json
from cait_finetune.runs.exports import damaged_file
from cait_finetune.runs.nearby import no_run
from cait_finetune.tasks import checked

#: Keys that may change when a run resumes. They control when the run ends, what it writes, where it
#: computes, where images are read and cached, and how it handles corrupt images. The keys from
#: distribution.* on may change the order of additions, which changes the rounding of the result. If
#: train.accumulation is null, they may also change the number of micro-batches, and each micro-batch
#: draws its own dropout.
FREE = (
    "checkpoint.*",
    "dataset.accept_changes",
    "dataset.cache",
    "dataset.cache_dir",
    "dataset.data_dir",
    "dataset.homepage",
    "dataset.license",
    "dataset.on_corrupt",
    "dataset.parallel_calls",
    "dataset.prefetch",
    "dataset.splits.file",
    "export.*",
    "logger.*",
    "model.weights",
    "resume",
    "traceback",
    "train.eval_batch_size",
    "train.log_every",
    "train.max_hours",
    "train.max_skipped_steps",
    "train.patience",
    "distribution.*",
    "model.fused",
    "model.remat",
    "train.jit_compile",
    "train.steps_per_execution",
)
#: Free keys that apply only to the command that sets them. `keep_free_keys` does not record them.
_ONCE = ("dataset.accept_changes", "resume", "traceback")


def find_run(resume: str | Path) -> Path:
    """Return the run's directory that `resume` names, with ``~`` expanded.

    Raises:
        UserError: the directory holds no ``config.yaml``.
    """
    directory = expanded_path("resume", resume)
    if not (directory / "config.yaml").is_file():
        raise no_run("resume", resume, "the directory of a run, which holds a config.yaml")
    return directory


def _check_unfinished(run: RunDirectory, config: Config) -> None:
    """Refuse a finished run, unless its limit was raised or removed, or an export is damaged.

    Raises:
        UserError: the run is finished.
    """
    train, formats = config.train, config.export.formats
    if not run.finished or _damaged(run, formats):
        return
    result = run.read_result()
    ended_by, hint = result.get("stopped_by"), ""
    if ended_by == "train.max_hours":
        if train.max_hours is None or train.max_hours * 3600 > result.get("train_seconds", 0):
            return
    elif ended_by == "train.patience":
        before = run.read_config().train.patience
        if train.patience is None or train.patience > (before or 0):
            return
    got = f"{run.root}, whose run is finished"
    before = run.read_config().get("export", {})
    if new := [name for name in formats if not (before.get(name) or name in _exports(run))]:
        words = f"{advise('run', run.root)} {advise_formats(new)}"
        raise bad_value(
            "resume", got, "one that was cut off", f"Run python -m cait_finetune export {words}"
        )
    if ended_by and "." in ended_by:  # a key, not the caller's function
        hint = f"add {ended_by}=null to train on, or "
    there = [one for one in (run.last_checkpoint, run.best_checkpoint) if one.is_file()]
    weights = f" with {advise('model.weights', there[0])}" if there else ""
    longer = f"{advise('continue_from', run.root)} train.epochs=+5"
    raise bad_value(
        "resume", got, "one that was cut off",
        f"{hint}train it for longer with {longer}, or start a new run{weights}",
    )  # fmt: skip


def _damaged(run: RunDirectory, formats: Iterable[str]) -> bool:
    """Return whether a file of one of `formats` is missing or differs from its record."""
    records, made = _exports(run), run.read_result().get("exports") or {}
    return any(
        damaged_file(run.export, records[name]) if name in records else name in made
        for name in formats
    )


def _exports(run: RunDirectory) -> dict[str, dict]:
    """Return the record of each exported format."""
    return read_json(run.export / "exports.json", dict, dict)


def resumed(
    composed: DictConfig, overrides: list[str], groups: set[str], recipe: bool
) -> tuple[Config, list[str]]:
    """Return the configuration of the run in ``composed.resume`` and its changed keys.

    Only keys that the command line sets count. ``resume=DIR`` alone takes every value from the run. The
    whole first command with ``resume=DIR`` added also works.

    Args:
        composed: the configuration from the command line.
        overrides: the overrides on the command line.
        groups: names of the configuration groups. The choice of a group sets all keys of the group.
        recipe: whether the command line chooses a recipe, which sets every key.

    Returns:
        The configuration, and a line ``key: old → new`` for each changed key.

    Raises:
        UserError: the directory holds no run; its ``config.yaml`` cannot be read; a key outside `FREE`
            would change; or the run is finished.
    """
    directory = find_run(composed.resume)
    saved = _read(directory / "config.yaml")
    said = as_said(RunDirectory(directory))
    named = [
        override.key_or_group for override in OverridesParser.create().parse_overrides(overrides)
    ]
    changes, refused = [], []
    wanted = to_dict(composed, resolve=True)
    forget_default_splits(wanted)
    for key, new in _leaves(wanted):
        old = _value(saved, key)
        ours = recipe or any(
            key == name
            or key.startswith(f"{name}.")
            or (name in groups and key.split(".")[0] == name)
            for name in named
        )
        unsaid = key == "dataset.seed" and new is None  # null means the run's own seed
        unsaid |= key in said and new in (said[key], AUTO)  # the run has the numbers
        # Text that an environment variable gives is a number in the run's file.
        same = old == new or _shown(old) == _shown(new)
        if not ours or same or key == "resume" or unsaid:
            continue
        forgotten = key == "dataset.splits.file" and new is None  # a new file would divide anew
        free = _is_free(key) and not forgotten
        (changes if free else refused).append(f"{key}: {_shown(old)} → {_shown(new)}")
        OmegaConf.update(saved, key, new)
    if refused:
        hint = f"Leave them out, or start a new run. You may change {', '.join(FREE)}"
        if RunDirectory(directory).finished:
            hint = (
                "The run is finished: train its best weights for longer, also with other values, with "
                f"{advise('continue_from', directory)} train.epochs=+5"
            )
        raise bad_value(
            "resume",
            f"other values than the run's: {'; '.join(refused)}",
            "the run's own values of the keys that change its result",
            hint,
        )
    saved.resume = str(directory)
    config = checked(saved)
    _check_unfinished(RunDirectory(directory), config)
    return config, changes


def keep_free_keys(run: RunDirectory, config: Config) -> None:
    """Record the changed free keys in ``config.yaml``, so that the next ``resume=DIR`` uses them, too.

    Args:
        config: the configuration that `resumed` returned.
    """
    known, saved = _read(run.config), load(run.config)
    changed = False
    for key, value in _leaves(to_dict(OmegaConf.structured(config))):
        if _is_free(key) and key not in _ONCE and _value(known, key) != value:
            OmegaConf.update(saved, key, value, force_add=True)
            changed = True
    if changed:
        run.write_config(saved)


def _is_free(key: str) -> bool:
    return any(fnmatch(key, pattern) for pattern in FREE)


def _value(config: DictConfig, key: str) -> object:
    found = OmegaConf.select(config, key)
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def _read(path: Path) -> DictConfig:
    try:
        saved = merge(OmegaConf.structured(Config), with_task(load(path)))
        forget_default_splits(saved)
        saved = without_effect(saved)
        missing = sorted(OmegaConf.missing_keys(saved))
    except UNREADABLE as error:
        raise _unreadable(path, reason(error)) from error
    if missing:
        raise _unreadable(path, f"it has no {missing[0]}")
    return saved


def _unreadable(path: Path, why: str) -> UserError:
    return bad_value("resume", f"{path} ({why})", "the config.yaml of a run of this version")


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
