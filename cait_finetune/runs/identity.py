"""Record the data and initial weights of a run, and check that they are still the same.

``identity.json`` holds the run's id, the fingerprint of the data, the checksum of the initial weights,
the settings, and every change of the data that the user accepted. ``images.csv.gz`` lists the images,
so that an error message can name the changed images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cait_finetune.config.advice import advise
from cait_finetune.data.changes import ANOTHER_ORDER, differences
from cait_finetune.data.fingerprint import Fingerprint, Image, fingerprint
from cait_finetune.data.source import Source
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.automatic import KEY as AUTOMATIC
from cait_finetune.runs.directory import RunDirectory, write_json
from cait_finetune.runs.image_list import is_whole, read_images, write_images
from cait_finetune.runs.run_id import KEY, check_run_id, read_identity, unreadable
from cait_finetune.runs.run_id import run_id as run_id_of
from cait_finetune.runs.settings import KEY as SETTINGS
from cait_tf.weights.checksum import stated_checksum
from cait_tf.weights.class_names import ClassMatch, match_classes

#: Key of the continued run in ``identity.json`` and ``result.json``, and in the configuration.
PARENT = "continue_from"

#: Key of the directory in which the run began.
_PLACE = "directory"

_NO_CONTENTS = (
    "data   names and labels are compared, contents are not: dataset.check=false, or an older run"
)

_ANOTHER_RECORD = "images that occur several times have other labels, weights or splits"

#: Prints one line.
Say = Callable[[str], None]


class ChangedData(UserError):
    """The data differ from the run's data."""


def begin_identity(
    run: RunDirectory,
    source: Source,
    weights: str,
    weights_sha256: str | None,
    run_id: str,
    settings: Mapping[str, Any] | None = None,
    parent: RunDirectory | None = None,
    automatic: Mapping[str, Any] | None = None,
) -> Fingerprint:
    """Write the identity of a new run.

    Args:
        weights: `model.weights`, as configured.
        weights_sha256: checksum of the initial weights. `None`: the run begins with random weights.
        run_id: the id from `new_run_id`.
        settings: the values from `settings.settings`, by which later commands detect an edited
            ``config.yaml``. `None`: no values.
        parent: the finished run that this run continues. `None`: no run.
        automatic: what the configuration said of the settings that were computed (`as_said`).

    Returns:
        The fingerprint of the data.
    """
    found, listed = fingerprint(source)
    write_images(run.images, listed)
    start = {"source": weights, "sha256": weights_sha256}
    write_json(
        run.identity,
        {
            KEY: run_id,
            _PLACE: str(run.root.absolute()),
            "data": found.as_dict(),
            "weights": start,
            "accepted": [],
            SETTINGS: dict(settings or {}),
            **({PARENT: {KEY: run_id_of(parent), "directory": str(parent.root)}} if parent else {}),
            **({AUTOMATIC: dict(automatic)} if automatic else {}),
        },
    )
    return found


def record_weights_path(run: RunDirectory, weights: str) -> None:
    """Record where the initial weights of a resumed run are now. `check_weights` has compared them."""
    kept = _read(run)
    if kept.get("weights", {}).get("source", weights) != weights:
        kept["weights"]["source"] = weights
        write_json(run.identity, kept)


def check_weights(run: RunDirectory, weights: str, sha256: str | None) -> None:
    """Check that `model.weights` of a resumed run are the weights that the run began with.

    Args:
        weights: `model.weights` now.
        sha256: checksum of these weights. `None`: random weights.

    Raises:
        UserError: they are other weights.
    """
    start = _read(run).get("weights")
    if start and start["sha256"] != sha256:
        raise bad_value(
            "model.weights",
            f"{weights} with other weights than the run began with",
            f"the weights of {start['source']} as they were, which may be at another place now",
            "Put the file back or leave the key out, or start a new run",
        )


def check_best(run: RunDirectory, sha256: str) -> None:
    """Check that the file of the best weights is the file that the run saved.

    The check precedes scoring and export.

    Args:
        sha256: the checksum in the run's state. Empty: a state of an earlier version, which stored
            none; the weights are then not checked.

    Raises:
        UserError: the file was replaced, is damaged or is missing.
    """
    if sha256 and stated_checksum(run.best_checkpoint) != sha256:
        there = run.best_checkpoint.is_file()
        raise bad_value(
            "checkpoints",
            f"{run.best_checkpoint} with other weights than the run saved"
            if there
            else f"no {run.best_checkpoint}",
            "the run's own best weights",
            "Restore the file, or start a new run",
        )


def check_state(run: RunDirectory, digest: str, run_id: str) -> str:
    """Check that a state belongs to the run and to the run's data.

    A state from before an accepted change of the data also passes.

    Args:
        digest: the digest of the data in the state. Empty: an earlier version stored none.
        run_id: the run's id in the state. Empty: an earlier version stored none.

    Returns:
        The current digest of the run's data. Empty: the run has no record of its data.

    Raises:
        UserError: the state belongs to another run or to other data.
    """
    check_run_id(run, "resume", f"{run.checkpoints} with a state", run_id)
    kept = _read(run)
    now = kept["data"]["sha256"] if kept else ""
    known = {"", now, *(one["before"] for one in kept.get("accepted", []))}
    if digest not in known:
        raise bad_value(
            "resume",
            f"{run.checkpoints} with a state of other data than {run.identity}"
            + ", which is missing" * (not kept),
            "the files of one run",
            "Restore the run's own files",
        )
    return now


def confirmed(
    run: RunDirectory,
    classes: Sequence[str],
    source: Source,
    command: str,
    accept: bool,
    say: Say,
) -> Source:
    """Compare the data with the run's data. Call this before any other use of the data.

    Args:
        classes: the run's classes, in column order.
        source: the data.
        command: what uses the data: ``resume``, ``continue_from``, ``export``, ``report`` or
            ``attention``. After an accepted change, ``resume`` makes the new images the run's data.
        accept: continue although images changed, and record the change. ``continue_from`` records
            nothing: the new run has a record of its own.
        say: prints one line.

    Returns:
        The source with its labels numbered in the order of `classes`.

    Raises:
        ChangedData: the classes differ, which `accept` does not allow because the head has a column
            per class; or the images differ, and `accept` is false.
        UserError: ``identity.json`` cannot be read.
    """
    recorded = _recorded(run)
    match = match_classes(classes, source.class_names)
    if not match.complete:
        raise _other_classes(run, match)
    if match.in_order:
        source = dataclasses.replace(source, class_names=tuple(classes))
    else:
        source = source.in_order(classes)
        say("data   the same classes in another order: labels are numbered as in the run's head")
    found, listed = fingerprint(source)
    if recorded is None:
        say("data   not compared: the run's version kept no record of its images")
        return source
    if not (found.has_contents and recorded.has_contents):
        say(_NO_CONTENTS)
    changed = _changes(run, recorded, found, listed)
    if not changed:
        if command == "resume" and not is_whole(run.images):
            write_images(run.images, listed)
        return source
    if command != "resume" and changed == [ANOTHER_ORDER]:
        return source
    if not accept:
        raise ChangedData(
            str(
                bad_value(
                    "dataset",
                    f"other images than the run's: {'; '.join(changed)}",
                    "the images that the run was trained on",
                    "Put them back, give their folder with dataset.data_dir=DIR, or add "
                    "dataset.accept_changes=true",
                )
            )
        )
    if command != PARENT:
        _record(run, found, listed, command, changed)
    say(f"data   changed, and accepted: {'; '.join(changed)}")
    return source


def unlike(run: RunDirectory, source: Source, weights_sha256: str | None) -> list[str]:
    """Return lines on how a new run with the configuration of `run` differs from `run`.

    Args:
        source: the images of the new run.
        weights_sha256: checksum of the initial weights of the new run. `None`: random weights.

    Raises:
        UserError: ``identity.json`` of `run` cannot be read.
    """
    kept = _read(run)
    if not kept:
        return [f"again  {run.root} kept no record of its images: they are not compared"]
    lines = other_data(run, source)
    if kept["weights"]["sha256"] != weights_sha256:
        lines.append(f"other initial weights than {run.root}")
    same = [f"the images, classes and initial weights of {run.root}"]
    return [f"again  {line}" for line in lines or same]


def other_data(run: RunDirectory, source: Source) -> list[str]:
    """Return lines on how classes and images differ from those of a run. Empty: they are the same.

    Raises:
        UserError: ``identity.json`` of `run` cannot be read.
    """
    recorded, lines = _recorded(run), []
    if recorded is None:
        return lines
    found, listed = fingerprint(source)
    if recorded.classes != found.classes:
        match = match_classes(recorded.classes, found.classes)
        lines.append(f"other classes than {run.root}: {match.differences() or 'another order'}")
    if changed := _changes(run, recorded, found, listed):
        lines.append(f"other images than {run.root}: {'; '.join(changed)}")
    return lines


def has_the_runs_images(run: RunDirectory, source: Source) -> bool | None:
    """Return whether a source has the run's images, in any order. `None`: the run has no record."""
    recorded = _recorded(run)
    if recorded is None:
        return None
    return _changes(run, recorded, *fingerprint(source)) in ([], [ANOTHER_ORDER])


def _changes(
    run: RunDirectory, recorded: Fingerprint, found: Fingerprint, listed: Sequence[Image]
) -> list[str]:
    """Describe the changed images of the run. Empty: the same images in the same order."""
    if found.matches(recorded):
        return []
    return differences(read_images(run.images), listed) or [_ANOTHER_RECORD]


def identity_facts(run: RunDirectory) -> dict[str, Any]:
    """Return the facts about the data for ``result.json`` and exports.

    Returns:
        ``sha256``, ``splits`` with sizes and hashes, and ``accepted_changes`` as text. Empty: the run
        has no record of its data.
    """
    kept = _read(run)
    if "data" not in kept:
        return {}
    facts = {"sha256": kept["data"]["sha256"], "splits": kept["data"]["splits"]}
    accepted = [f"{one['command']}: {'; '.join(one['changes'])}" for one in kept["accepted"]]
    return {**facts, "accepted_changes": accepted}


def place_notes(run: RunDirectory, data_dir: str | None) -> list[str]:
    """Return a line if a run was moved or copied and its images are still read from their old place.

    A copied project may have other images of the same names beside the copied run.

    Args:
        data_dir: the recorded place of the run's images. `None`: no place was recorded, or the user
            names another place.

    Raises:
        UserError: ``identity.json`` cannot be read.
    """
    began = read_identity(run).get(_PLACE)
    if not began or data_dir is None or Path(began) == run.root.absolute():
        return []
    if Path(began).exists() and Path(began).samefile(run.root):
        return []
    return [
        f"data   the run was moved or copied from {began}; its images are those of {data_dir}: "
        "set dataset.data_dir to read them from another place"
    ]


def parent_of(run: RunDirectory) -> dict[str, str] | None:
    """Return the id and directory of the run that `run` continues. `None`: it continues no run.

    Raises:
        UserError: ``identity.json`` cannot be read.
    """
    return read_identity(run).get(PARENT)


def images_mark(run: RunDirectory, split: str) -> str | None:
    """Return the hash of a split's ids, labels and contents. `None`: the contents have no hash."""
    found = identity_facts(run).get("splits", {}).get(split, {})
    if not found.get("content_sha256"):
        return None
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def run_classes(run: RunDirectory) -> tuple[str, ...] | None:
    """Return the run's classes in column order. `None`: no checkpoint and no record names them.

    Raises:
        UserError: the record and the checkpoints name different classes, so they are of different runs.
    """
    recorded = _recorded(run)
    found = recorded.classes if recorded else None
    for checkpoint in (run.last_checkpoint, run.best_checkpoint):
        classes = checkpoint_classes(checkpoint)
        if classes and found and classes != found:
            raise bad_value(
                "resume",
                f"{checkpoint} with other classes, or in another order, than {run.identity}",
                "the files of one run",
                "Restore the run's own files",
            )
        found = found or classes
    return found


def checkpoint_classes(path: Path) -> tuple[str, ...] | None:
    """Return a checkpoint's class names in column order. `None`: missing, damaged or no class names."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as checkpoint:
            return tuple(checkpoint.metadata()["classes"].split("\n"))
    except (SafetensorError, OSError, KeyError, TypeError):
        return None


def _other_classes(run: RunDirectory, match: ClassMatch) -> ChangedData:
    keeps = advise("model.weights", run.best_checkpoint)
    return ChangedData(
        str(
            bad_value(
                "dataset",
                f"other classes than the run's: {match.differences()}",
                "the classes that the run was trained on",
                f"Rename them back, or start a new run with {keeps}, which keeps the head's columns of "
                "the classes with the same name",
            )
        )
    )


def _read(run: RunDirectory) -> dict[str, Any]:
    """Return the content of ``identity.json``, or an empty dictionary if the file does not exist.

    Raises:
        UserError: the file cannot be read.
    """
    if not run.identity.exists():
        return {}
    kept = read_identity(run)
    try:
        Fingerprint.from_dict(kept["data"])
        if not {"accepted", "weights"} <= kept.keys():
            raise KeyError("accepted, weights")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise unreadable(run, error) from error
    return kept


def _recorded(run: RunDirectory) -> Fingerprint | None:
    kept = _read(run)
    return Fingerprint.from_dict(kept["data"]) if kept else None


def _record(
    run: RunDirectory,
    found: Fingerprint,
    listed: Sequence[Image],
    command: str,
    changed: list[str],
) -> None:
    kept = _read(run)
    kept["accepted"] = [
        *kept.get("accepted", []),
        {
            "command": command,
            "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "changes": changed,
            "before": kept["data"]["sha256"],
            "data": found.digest,
        },
    ]
    if command == "resume":
        kept["data"] = found.as_dict()
        write_images(run.images, listed)
    write_json(run.identity, kept)
    if result := run.read_result():
        run.write_result({**result, "data": identity_facts(run)})
