"""Export the finished run's model, write its model card, and push both to the hub."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cait_finetune.config import ExportConfig
from cait_finetune.config.advice import advise, advise_formats
from cait_finetune.config.metrics import METRIC_NAMES
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.pipeline import encoded_images, labelled_images
from cait_finetune.data.source import Source
from cait_finetune.errors import UserError, bad_value
from cait_finetune.export.card import model_card
from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.export.formats import exporter
from cait_finetune.export.hub import push
from cait_finetune.runs.directory import RunDirectory, read_json, write_json
from cait_finetune.runs.exports import (
    DATA,
    FILES,
    WEIGHTS,
    damaged_file,
    describe_files,
    weights_mark,
)
from cait_finetune.runs.identity import identity_facts
from cait_tf.atomic import write_text

_OF_FORMATS = ("check_images", "quantise", "accuracy_images")

_EXPORT = "export"  # name of the folder in a run's directory

#: Prints a line.
Say = Callable[[str], None]


def export_run(
    config: ExportConfig,
    exported: ExportedModel,
    source: Source,
    corrupt: CorruptImages,
    run: RunDirectory,
    say: Say,
    keep: bool = False,
) -> dict[str, dict]:
    """Write the chosen formats into ``export/``, and check each on images of the validation split.

    The function updates ``exports.json`` after each format. At the end it removes the formats that
    were made from other weights than the run's best weights.

    Args:
        exported: the model with the weights in ``run.best_checkpoint``.
        keep: do not repeat a format that was made from the same weights, temperature, data and
            keys, if its files are complete and unchanged.

    Returns:
        The contents of ``export/exports.json``: a record for each existing format, by name. A
        record holds the relative ``path``, the ``difference``, the checksum of the ``weights``, the
        digest of the ``data``, and further facts of the format.

    Raises:
        UserError: files of an earlier export, which the model card would list, are no longer as
            they were exported; or a format was refused. The other formats have been written before.
    """
    folder, mark = run.export, weights_mark(run.best_checkpoint)
    exports = read_exports(run)
    _check_others(exports, config.formats, folder)
    facts = {
        **exported.postprocessing.facts(),
        WEIGHTS: mark,
        DATA: identity_facts(run).get("sha256"),
        "keys": _keys(config),
    }
    wanted = [
        name
        for name in config.formats
        if not (
            keep
            and mark
            and facts.items() <= exports.get(name, {}).items()
            and _is_whole(name, run, exports[name], say)
        )
    ]
    refused = []
    same = exported.postprocessing.same
    found = f"{same}, largest difference" if same else "largest difference"
    if wanted:
        samples = encoded_images(source, "validation", config.check_images, corrupt)
        labelled = functools.partial(
            labelled_images, source, "validation", config.accuracy_images, corrupt
        )
        validation = ValidationSamples(exported, samples, labelled)
    for name in wanted:
        try:
            done = exporter(name, config)(exported, validation, folder / name)
        except UserError as error:
            refused.append(str(error))
            continue
        refused += done.pop("refused", [])
        for note in done.pop("notes", []):
            say(f"export {name}: {note}")
        files = describe_files(folder, _places(name, done))
        exports[name] = {**_below_run(done), "images": len(samples), **facts, FILES: files}
        _write_exports(run, exports)
        say(
            f"export checked on {len(samples)} validation images: {found} "
            f"{done['difference']:.1e} ({name})"
        )
        for variant, metrics in done.get("variants", {}).items():
            say(_compared(variant, metrics, done["megabytes"], exported.postprocessing.agreeing))
    _remove_stale(exports, folder, mark, say)
    _write_exports(run, exports)
    if refused:
        raise UserError("\n".join(refused))
    return exports


def _check_others(exports: dict[str, dict], formats: list[str], folder: Path) -> None:
    """Check the files of the formats that this export does not write but lists in the model card."""
    for name in exports:
        if name not in formats and damaged_file(folder, exports[name]):
            raise bad_value(
                "export",
                f"{folder / name} with files that are missing or differ from those exported",
                "every file of an earlier export as it was exported, because the model card lists it",
                f"Restore the files, remove {folder / name}, or export it again with "
                f"{advise_formats([name, *formats])}",
            )


def outcome(exports: dict[str, dict]) -> dict[str, Any]:
    """Return the entries of ``result.json`` for the existing exports."""
    shown = {
        name: {key: value for key, value in one.items() if key != FILES}
        for name, one in exports.items()
    }
    return {
        "exports": shown,
        "export_max_difference": max((one["difference"] for one in exports.values()), default=None),
        "saved_model": exports.get("saved_model", {}).get("path"),
    }


def _write_exports(run: RunDirectory, exports: dict[str, dict]) -> None:
    record = run.export / "exports.json"
    if exports or record.exists():
        run.export.mkdir(parents=True, exist_ok=True)
        write_json(record, exports)


def _keys(config: ExportConfig) -> dict[str, Any]:
    """Return the configuration keys that an exported file depends on, with their values."""
    return {name: getattr(config, name) for name in _OF_FORMATS}


def read_exports(run: RunDirectory) -> dict[str, dict]:
    """Return the records of ``exports.json`` for the formats whose files still exist.

    Paths are relative to the run's directory. The function converts the absolute paths that earlier
    versions wrote.

    Raises:
        UserError: ``exports.json`` cannot be read.
    """
    known = read_json(run.export / "exports.json", dict, dict)
    return {name: _below_run(one) for name, one in known.items() if (run.export / name).exists()}


def publish(config: ExportConfig, run: RunDirectory, class_names: list[str], say: Say) -> None:
    """Write the model card. If `config.push_to_hub` is set, push ``export/`` to the hub.

    Without an export, the function does nothing.

    Raises:
        UserError: the hub cannot be reached or refuses the upload. The local files remain.
    """
    exports = read_exports(run)
    if not exports:
        return
    card = model_card(
        config=OmegaConf.to_container(run.read_config()),
        result=run.read_result(),
        exports=exports,
        class_names=class_names,
        command=run.read_command(),
        repository=config.push_to_hub,
        data=identity_facts(run),
    )
    write_text(run.export / "README.md", card)
    if config.push_to_hub:
        say(f"pushed to {push(config.push_to_hub, run.export, config.hub_private)}")


def _below_run(record: dict[str, Any]) -> dict[str, Any]:
    """Return a format's record with paths from ``export/`` on. The hub gets the record too."""
    below = {}
    for key, value in record.items():
        if isinstance(value, dict):
            below[key] = _below_run(value)
        elif key in ("path", "serving"):
            parts = Path(value).parts
            start = len(parts) - 1 - parts[::-1].index(_EXPORT) if _EXPORT in parts else 0
            below[key] = Path(*parts[start:]).as_posix()
        else:
            below[key] = value
    return below


def _remove_stale(exports: dict[str, dict], folder: Path, mark: str | None, say: Say) -> None:
    """Remove records and files of other weights than `mark`, and the model card that lists them.

    Args:
        mark: the checksum of the best weights.
    """
    stale = [name for name, one in exports.items() if one.get(WEIGHTS) != mark]
    for name in stale:
        for place in _places(name, exports.pop(name)):
            shutil.rmtree(folder / place, ignore_errors=True)
    if stale:
        (folder / "README.md").unlink(missing_ok=True)
        say(
            f"export {', '.join(stale)} removed: made from other weights than the current best; make "
            f"it again with python -m cait_finetune export {advise('run', folder.parent)} "
            f"{advise_formats(stale)}"
        )


def _places(name: str, record: dict[str, Any]) -> list[str]:
    """Return the names in ``export/`` that a format wrote."""
    return [name, "serving"] if "serving" in record else [name]


def _is_whole(name: str, run: RunDirectory, record: dict[str, Any], say: Say) -> bool:
    damaged = damaged_file(run.export, record)
    if damaged:
        say(f"export {name}: {damaged} is missing or damaged; exporting {name} again")
    return damaged is None


def _compared(variant: str, metrics: dict, megabytes: float, agreeing: str) -> str:
    worse = 100 * (metrics["accuracy"] - metrics["plain_accuracy"])
    return (
        f"export {variant}: {METRIC_NAMES[metrics['metric']]} {metrics['accuracy']:.2%}, {worse:+.2f} points, on "
        f"{metrics['images']:,} validation images, {agreeing} on {metrics['agreement']:.1%}; "
        f"{metrics['megabytes']:g} MB instead of {megabytes:g}"
    )
