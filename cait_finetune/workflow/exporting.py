"""The chapter of a run that makes files of its model, tells of them, and shows them to others."""

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
from cait_finetune.errors import UserError
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

_EXPORT = "export"  # the folder in a run's directory

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
    """Write the chosen formats into ``export/``, each checked on images of the validation split.

    Formats that are there and were made from other weights than the run's best are removed.
    ``exports.json`` is complete after each format.

    Args:
        exported: the model with the weights in ``run.best_checkpoint``.
        keep: leave a format as it is that was made from the same weights, data and keys, and whose
            files are as they were written.

    Returns:
        What ``export/exports.json`` has of all formats that are there: by name the relative ``path``,
        ``difference``, the checksum of the ``weights``, the digest of the ``data``, and what else
        there is to say.

    Raises:
        UserError: a format was refused, which is said when the others have been written.
    """
    folder, mark = run.export, weights_mark(run.best_checkpoint)
    exports = read_exports(run)
    facts = {
        "temperature": exported.temperature,
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
            f"export checked on {len(samples)} validation images: same top-1, largest difference "
            f"{done['difference']:.1e} ({name})"
        )
        for variant, metrics in done.get("variants", {}).items():
            say(_compared(variant, metrics, done["megabytes"]))
    _remove_stale(exports, folder, mark, say)
    _write_exports(run, exports)
    if refused:
        raise UserError("\n".join(refused))
    return exports


def outcome(exports: dict[str, dict]) -> dict[str, Any]:
    """What ``result.json`` says of the exports that there are."""
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
    """The keys that a format depends on."""
    return {name: getattr(config, name) for name in _OF_FORMATS}


def read_exports(run: RunDirectory) -> dict[str, dict]:
    """What ``exports.json`` holds of the formats whose files are still there.

    Paths are relative to the run's directory, also those of earlier versions, which were absolute.

    Raises:
        UserError: it cannot be read.
    """
    known = read_json(run.export / "exports.json", dict, dict)
    return {name: _below_run(one) for name, one in known.items() if (run.export / name).exists()}


def publish(config: ExportConfig, run: RunDirectory, class_names: list[str], say: Say) -> None:
    """Write the model card, and push the folder to the hub where that is asked for.

    Raises:
        UserError: the hub cannot be reached, or refuses; everything stays where it is.
    """
    exports = read_exports(run)
    if not exports:
        return
    card = model_card(
        config=OmegaConf.to_container(OmegaConf.load(run.config)),
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
    """A format's record with ``export/…`` for each path: the record is uploaded with the files."""
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
    """Records and files of other weights than those with the checksum `mark`; the card names them."""
    stale = [name for name, one in exports.items() if one.get(WEIGHTS) != mark]
    for name in stale:
        for place in _places(name, exports.pop(name)):
            shutil.rmtree(folder / place, ignore_errors=True)
    if stale:
        (folder / "README.md").unlink(missing_ok=True)
        say(
            f"export {', '.join(stale)} removed: made from other weights than the best ones now; make "
            f"it again with python -m cait_finetune export {advise('run', folder.parent)} "
            f"{advise_formats(stale)}"
        )


def _places(name: str, record: dict[str, Any]) -> list[str]:
    """The folders in ``export/`` that a format wrote."""
    return [name, "serving"] if "serving" in record else [name]


def _is_whole(name: str, run: RunDirectory, record: dict[str, Any], say: Say) -> bool:
    damaged = damaged_file(run.export, record)
    if damaged:
        say(f"export {name}: {damaged} is missing or damaged; exporting {name} again")
    return damaged is None


def _compared(variant: str, metrics: dict, megabytes: float) -> str:
    worse = 100 * (metrics["accuracy"] - metrics["plain_accuracy"])
    return (
        f"export {variant}: {METRIC_NAMES[metrics['metric']]} {metrics['accuracy']:.2%}, {worse:+.2f} points, on "
        f"{metrics['images']:,} validation images, the same class on {metrics['agreement']:.1%}; "
        f"{metrics['megabytes']:g} MB instead of {megabytes:g}"
    )
