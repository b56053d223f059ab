"""The files in a run's directory: paths, reading, writing and locking."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf

from cait_finetune.config import Config, SplitsConfig
from cait_finetune.config.advice import advise
from cait_finetune.config.checks import on_disk, utf8_path
from cait_finetune.config.former import with_head, with_task
from cait_finetune.config.mappings import UNREADABLE, load
from cait_finetune.config.root import without_effect
from cait_finetune.errors import UserError, bad_value, reason
from cait_finetune.runtime.locks import InUse, lock
from cait_tf.atomic import guarded, remove_partial, write_text

Value = TypeVar("Value", dict, list)

#: Key of ``result.json``: the time at which the run finished.
FINISHED = "finished"


def read_json(path: Path, kind: type[Value], entries: type = object) -> Value:
    """Return the content of a JSON file, or an empty `kind` if the file does not exist.

    Args:
        kind: the expected type of the content, ``dict`` or ``list``.
        entries: the expected type of each value in the content.

    Raises:
        UserError: the file cannot be read, or its content has another type.
    """
    if not path.is_file():
        return kind()
    why = f"it does not hold a {kind.__name__}"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        found, why = None, str(error)
    else:
        if isinstance(found, kind):
            values = found.values() if isinstance(found, dict) else found
            if not all(isinstance(value, entries) for value in values):
                found, why = None, f"one of its values is no {entries.__name__}"
    if not isinstance(found, kind):
        raise bad_value(
            path.name,
            f"{path} ({why})",
            "JSON as it was written",
            "put a whole file in its place, or remove it",
        )
    return found


def write_json(path: Path, value: dict | list) -> None:
    """Write a JSON file atomically: an error leaves the existing file unchanged."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def forget_default_splits(config: DictConfig | dict) -> None:
    """Set `dataset.splits.shares` and `dataset.splits.seed` to null if they have the default value.

    Earlier versions wrote the defaults as if the user had set them. The loader would compare such values
    with the file that records the division.
    """
    splits = config
    for name in ("dataset", "splits"):
        splits = splits.get(name)
        if not isinstance(splits, dict | DictConfig):
            return
    for key, default in (("shares", list(SplitsConfig.SHARES)), ("seed", 0)):
        if splits.get(key) == default:
            splits[key] = None


_OF_PATTERNS = "[]*?"
#: Keys and prefixes of keys in ``result.json`` whose values are numbers.
_SCORES = ("test_", "validation_")
_NUMBERS = (
    "temperature",
    "steps",
    "best_epoch",
    "wall_seconds",
    "train_seconds",
    "images_per_second",
)


class RunDirectory:
    """The paths of one run. `create` refuses a directory that already holds a run.

    A process writes into the directory only inside `owned`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.yaml"
        self.command = root / "command.txt"
        self.parameters = root / "parameters.csv"
        self.metrics = root / "metrics.jsonl"
        self.curves = root / "curves.png"
        self.result = root / "result.json"
        self.checkpoints = root / "checkpoints"
        self.best_checkpoint = self.checkpoints / "best.safetensors"
        self.last_checkpoint = self.checkpoints / "last.safetensors"
        self.profile = root / "profile"
        self.export = root / "export"
        self.saved_model = self.export / "saved_model"
        self.tensorboard = root / "tensorboard"
        self.environment = root / "environment.json"
        self.identity = root / "identity.json"
        self.images = root / "images.csv.gz"
        self.predictions = root / "predictions"
        self.report = root / "report.html"
        self.parts = root / "report"
        self.failure = root / "failure.txt"  # error message of a failed run of a sweep

    @contextlib.contextmanager
    def owned(self, key: str) -> Iterator[None]:
        """Make the directory if needed, lock it against other processes, and remove partial files.

        Args:
            key: the key that named the directory, for messages.

        Raises:
            UserError: the directory is a URL; another process holds the lock; the directory cannot be
                written; or it was moved, removed or replaced, and writing into it has stopped.
        """
        on_disk(key, self.root)
        utf8_path(key, self.root)
        with contextlib.ExitStack() as held:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                owned = held.enter_context(lock(self.root / ".lock"))
            except InUse as error:
                raise bad_value(
                    key,
                    f"{self.root}, in use by {error}",
                    "a directory in which no other process is at work",
                    "Wait for that process to end, or choose another directory",
                ) from error
            except OSError as error:
                raise bad_value(
                    key, self.root, f"a directory that can be written ({error.strerror})"
                ) from error
            roots = self.root.absolute(), self.root.resolve()

            def guard(path: Path) -> None:
                below = any(path.absolute().is_relative_to(root) for root in roots)
                if below and not owned.in_place:
                    raise self._displaced(key)

            held.enter_context(guarded(guard))
            remove_partial(self.root)
            try:
                yield
            except OSError as error:
                if owned.in_place:
                    raise
                raise self._displaced(key) from error

    def _displaced(self, key: str) -> UserError:
        return bad_value(
            key,
            f"{self.root}, moved, removed or replaced while the run wrote into it",
            "the run's own directory until the run ends",
            "The run stopped writing there. If you moved the directory, resume the run at its new place",
        )

    def relative(self, path: Path) -> str:
        """Return `path` relative to the run's directory, as the run's files store it.

        ``root / stored`` restores the path. This also works for the absolute paths of earlier versions.
        """
        return path.relative_to(self.root).as_posix()

    def predictions_of(self, split: str) -> Path:
        """Return the path of the file with a split's logits."""
        return self.predictions / f"{split}.npz"

    def read_command(self) -> str | None:
        """Return the command that started the run, or `None` if ``command.txt`` is missing."""
        if not self.command.is_file():
            return None
        return self.command.read_text(encoding="utf-8", errors="replace").strip()

    def read_working_directory(self) -> str:
        """Return the directory in which the run was started, where its relative paths start. Empty: unknown.

        Raises:
            UserError: ``environment.json`` cannot be read.
        """
        began = read_json(self.environment, list, dict)
        return began[0].get("working_directory", "") if began else ""

    def read_config(self) -> DictConfig:
        """Return the configuration in ``config.yaml``. Keys without effect have null or their default.

        Raises:
            FileNotFoundError: the file does not exist.
            UserError: the file cannot be read, or has no key of a run's configuration.
        """
        try:
            saved = with_task(load(self.config))
            if not saved.keys() & Config.__dataclass_fields__.keys():
                raise ValueError("it has no key of a run")
            forget_default_splits(saved)
            return without_effect(with_head(saved))
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            raise bad_value(
                "run",
                self.root,
                f"a config.yaml with a configuration that can be read ({reason(error)})",
            ) from error

    def create(self) -> None:
        """Make the directories of a new run.

        Raises:
            UserError: the directory holds a run that has saved a checkpoint or a result; the directory
                cannot be written; or the path has one of ``[]*?``. TensorFlow treats paths as patterns,
                so it cannot save a model there.
        """
        if signs := [sign for sign in _OF_PATTERNS if sign in str(self.root.absolute())]:
            raise bad_value(
                "hydra.run.dir",
                self.root,
                f"a path without {' '.join(signs)}",
                "TensorFlow reads such a path as a pattern, and cannot save a model there",
            )
        begun = self.result.exists() or any(self.checkpoints.glob("*"))
        if self.config.exists() and begun:
            instead = "choose another, or leave the key out for one named by the time"
            if not self.finished:
                instead = f"Continue it with {advise('resume', self.root)}, or {instead}"
            raise bad_value(
                "hydra.run.dir",
                self.root,
                "a directory without a run; the run in it was not changed",
                instead,
            )
        theirs = [path.name for path in (self.config, self.result, self.report) if path.exists()]
        if theirs and not self._was_begun():
            raise bad_value(
                "hydra.run.dir",
                f"{self.root}, which holds {', '.join(theirs)}",
                "a directory without files of these names",
                "Choose another, or leave the key out for one named by the time",
            )
        try:
            self.metrics.unlink(missing_ok=True)  # of a run that ended before it saved anything
            for directory in (self.checkpoints, self.saved_model.parent):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise bad_value(
                "hydra.run.dir", self.root, f"a directory that can be written ({error.strerror})"
            ) from error

    def _was_begun(self) -> bool:
        """Return whether ``config.yaml`` is of a run that was interrupted before it saved anything."""
        try:
            self.read_config()
        except (FileNotFoundError, UserError):
            return False
        return True

    def write_config(self, config: DictConfig) -> None:
        """Write ``config.yaml`` atomically. The file makes the directory a run that can be resumed."""
        write_text(self.config, OmegaConf.to_yaml(config))

    def make_parts(self) -> None:
        """Make the folder for the files of the report.

        Raises:
            UserError: the folder cannot be made.
        """
        try:
            self.parts.mkdir(exist_ok=True)
        except OSError as error:
            raise bad_value(
                "report", self.parts, f"a folder for the report's parts ({error.strerror})",
                "remove the file of that name",
            ) from error  # fmt: skip

    def read_result(self) -> dict:
        """Return the content of ``result.json``, or an empty dictionary if it does not exist yet.

        Raises:
            UserError: the file cannot be read, or a numeric key holds neither a number nor null.
        """
        found = read_json(self.result, dict)
        for key, value in found.items():
            numeric = key.startswith(_SCORES) or key in _NUMBERS
            if numeric and not isinstance(value, int | float | None):
                raise bad_value(
                    self.result.name,
                    f"{self.result} with {key}: {value!r}",
                    "a number, as it was written",
                    "put a whole file in its place, or remove it",
                )
        if not _are_intervals(found.get("intervals", {})):
            raise bad_value(
                self.result.name, f"{self.result} with intervals: {found['intervals']!r}",
                "two numbers for each metric", "put a whole file in its place, or remove it",
            )  # fmt: skip
        return found

    @property
    def scored(self) -> bool:
        """Whether ``result.json`` exists, can be read, and is not empty."""
        try:
            return bool(self.read_result())
        except UserError:
            return False

    @property
    def finished(self) -> bool:
        """Whether the run has completed training, scores, exports, report and loggers.

        The run then writes the time into ``result.json`` as its last action.
        """
        try:
            return bool(self.read_result().get(FINISHED))
        except UserError:
            return False

    def mark_finished(self) -> dict:
        """Write the finish time into ``result.json`` and return the new content."""
        result = {**self.read_result(), FINISHED: time.strftime("%Y-%m-%d %H:%M:%S %z")}
        self.failure.unlink(missing_ok=True)
        self.write_result(result)
        return result

    def unmark_finished(self) -> None:
        """Remove the finish time from ``result.json``, because the run continues to train."""
        result = self.read_result()
        if result.pop(FINISHED, None):
            self.write_result(result)

    def write_result(self, result: dict) -> None:
        """Write ``result.json``."""
        write_json(self.result, result)


def _are_intervals(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(ends, list)
        and len(ends) == 2
        and all(isinstance(end, int | float) for end in ends)
        for ends in found.values()
    )
