"""Read a run's directory: its configuration, its images and its best weights."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from cait_finetune.config import (
    DatasetConfig,
    HeadConfig,
    LoggerConfig,
    ModelConfig,
    PreprocessingConfig,
    TaskConfig,
    TrainConfig,
)
from cait_finetune.config.keys import key
from cait_finetune.config.mappings import UNREADABLE
from cait_finetune.config.places import expanded
from cait_finetune.errors import bad_value, reason
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.exports import check_result, weights_mark
from cait_finetune.runs.nearby import no_run
from cait_finetune.runs.run_id import check_weights_id, run_id
from cait_finetune.runs.settings import check_settings
from cait_finetune.tasks import Task, task_of


@dataclass
class RunSplitsConfig:
    """The current place of a run's split file."""

    file: str | None = key(
        "The run's `dataset.splits.file`, if you moved it. null: the run's own.", None
    )


@dataclass
class RunDataConfig:
    """The current place of a run's images, and whether changed images are accepted."""

    data_dir: str | None = key(
        "Folder or table of the run's images, if you moved them. null: the run's own.", None
    )
    splits: RunSplitsConfig = field(default_factory=RunSplitsConfig)
    accept_changes: bool = key(
        "Use images that differ from the run's. `identity.json` records the change.", False
    )


if TYPE_CHECKING:  # importing TensorFlow here would delay error messages
    import keras

    from cait_finetune.data.preprocess import Preprocessing
    from cait_finetune.data.source import Source
    from cait_finetune.scores.postprocessing import Postprocessing


@dataclass(frozen=True)
class SavedRun:
    """The configuration of a run's model and data, with methods that build them."""

    directory: RunDirectory
    task: Task
    dataset: DatasetConfig
    model: ModelConfig
    head: HeadConfig
    train: TrainConfig
    preprocessing: PreprocessingConfig
    logger: LoggerConfig
    id: str = ""

    def check_in_place(self) -> None:
        """Check that the directory still holds this run and its own best weights.

        Raises:
            UserError: the directory holds another run, or none; or the best weights are of another run,
                or not those that the result of the finished run describes.
        """
        if not self.directory.config.is_file() or run_id(self.directory) != self.id:
            raise bad_value(
                "run",
                f"{self.directory.root}, which does not hold the run that was loaded",
                "the run's own directory",
                "Load the run again",
            )
        check_weights_id(self.directory, "run", self.directory.best_checkpoint)
        check_result(self.directory, "run")

    @property
    def class_names(self) -> list[str]:
        """The class names in the best checkpoint, in column order.

        Raises:
            UserError: the checkpoint cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        path = self.directory.best_checkpoint
        try:
            with safe_open(path, "np") as checkpoint:
                return checkpoint.metadata()["classes"].split("\n")
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise bad_value(
                "run", f"{path} ({error})", "a checkpoint that names its classes"
            ) from error

    @property
    def is_scored(self) -> bool:
        """Whether ``result.json`` belongs to the best weights.

        The value is also true if ``result.json`` or the weights have no checksum.

        Raises:
            UserError: ``result.json`` cannot be read.
        """
        scored = self.directory.read_result().get("weights_sha256")
        return scored in (None, weights_mark(self.directory.best_checkpoint) or scored)

    @property
    def postprocessing(self) -> Postprocessing:
        """What the outputs of the best weights become. The task's own: none was fitted to them.

        Its columns have no names yet (`Postprocessing.named`), so that a run without weights has it.

        Raises:
            UserError: ``result.json`` or the saved validation predictions cannot be read; or a value in
                ``result.json`` is impossible, or does not fit these predictions.
        """
        unfitted = self.task.postprocessing
        if not self.is_scored:
            return unfitted
        result = self.directory.read_result()
        if not result:  # the run ended between its predictions and its result
            return self._fitted(unfitted) or unfitted
        fitted = None
        try:
            stated = unfitted.stated(result)
            fitted = self._fitted(stated)
        except ValueError as error:
            fitted = self._fitted(unfitted)
            expected = fitted.described() if fitted else str(error)
        else:
            if fitted is None or stated.fits(fitted):
                return stated
            place = self.directory.predictions_of("validation")
            expected = f"{fitted.described()}, which fits {place}"
        got = ", ".join(f"{name} {result.get(name)}" for name in unfitted.facts())
        raise bad_value(
            "run", f"{self.directory.result} with {got}", expected, "Undo the edit of that file"
        )

    def _fitted(self, postprocessing: Postprocessing) -> Postprocessing | None:
        """Fit a postprocessing to the saved validation predictions.

        `None`: they are missing, too few, or of other weights or images.
        """
        from cait_finetune.runs.identity import images_mark
        from cait_finetune.scores.predictions import load_predictions

        path = self.directory.predictions_of("validation")
        if not path.is_file():
            return None
        kept = load_predictions(path)
        marks = (
            weights_mark(self.directory.best_checkpoint),
            images_mark(self.directory, "validation"),
        )
        if None in marks or (kept.weights, kept.images) != marks:
            return None
        return postprocessing.fitted(kept)

    def load_source(self, data: RunDataConfig, command: str, say: Callable[[str], None]) -> Source:
        """Load the run's images and check that they are unchanged.

        Args:
            data: the current place of the images, and whether changes are accepted.
            command: the command that uses the images, as in `identity.confirmed`.
            say: prints one line.

        Raises:
            UserError: the images or the split file cannot be found or read.
            ChangedData: the images differ from the run's images and changes are not accepted, or the
                classes differ.
        """
        from cait_finetune.data.image_files.split_file import check_split_file
        from cait_finetune.data.load import load_source
        from cait_finetune.runs.identity import confirmed, place_notes

        splits = self.dataset.splits
        splits = dataclasses.replace(splits, file=data.splits.file or splits.file)
        check_split_file(splits)
        place = self._data_dir(data)
        for line in place_notes(self.directory, None if data.data_dir else place):
            say(line)
        where = dataclasses.replace(self.dataset, data_dir=place, splits=splits)
        source = load_source(where, self.task.target, channels=self.model.in_channels)
        return confirmed(
            self.directory, self.class_names, source, command, data.accept_changes, say
        )

    def _data_dir(self, data: RunDataConfig) -> str | None:
        """Return the image directory. A relative path starts at the run's first working directory."""
        if data.data_dir is not None or self.dataset.data_dir is None:
            return data.data_dir
        path = expanded("dataset.data_dir", self.dataset.data_dir)
        if "://" in path or os.path.isabs(path):
            return path
        return os.path.join(self.directory.read_working_directory(), path)

    def build_model(self, class_names: Sequence[str]) -> keras.Model:
        """Build the float32 classifier with the best weights and its columns in the order of `class_names`.

        Raises:
            UserError: the checkpoint has other classes, or is damaged.
        """
        from cait_finetune import model as models

        return models.from_checkpoint(
            self.model,
            self.head,
            class_names,
            self.directory.best_checkpoint,
            self.task.numbers,
        )

    def build_preprocessing(self) -> Preprocessing:
        """Build the preprocessing of training, evaluation and exports."""
        from cait_finetune import model as models
        from cait_finetune.data.preprocess import configured

        return configured(
            self.preprocessing,
            models.check(self.model),
            self.model.image_size,
            self.dataset.upright,
            self.model.in_channels,
        )


def read_run(root: Path, weights: bool = True) -> SavedRun:
    """Read the configuration of a run.

    Groups that the project does not know are ignored. Missing keys get their defaults.

    Args:
        root: directory of the run.
        weights: whether the run must have saved best weights.

    Raises:
        UserError: the directory holds no such run; ``config.yaml`` or ``identity.json`` cannot be read;
            a group that this function reads has an unknown key;
            ``config.yaml`` was edited since the run began; or the best weights belong to another run
            or, with `weights`, are not those that the result of the finished run describes.
    """
    run = RunDirectory(root)
    if not run.config.is_file() or (weights and not run.best_checkpoint.is_file()):
        raise no_run(
            "run",
            root,
            f"the directory of a run, with config.yaml{' and checkpoints/' * weights} in it",
        )
    check_weights_id(run, "run", run.best_checkpoint)
    check_settings(run, "run")
    if weights:
        check_result(run, "run")
    schemas = {
        "task": TaskConfig,
        "dataset": DatasetConfig,
        "model": ModelConfig,
        "head": HeadConfig,
        "train": TrainConfig,
        "preprocessing": PreprocessingConfig,
        "logger": LoggerConfig,
    }
    saved = run.read_config()
    try:
        parts: dict[str, Any] = {
            name: OmegaConf.to_object(
                OmegaConf.merge(OmegaConf.structured(schema), saved.get(name, {}))
            )
            for name, schema in schemas.items()
        }
    except (*UNREADABLE, KeyError) as error:
        expected = f"a configuration that can be read ({reason(error)})"
        raise bad_value("run", root, expected) from error
    parts["task"] = task_of(parts["task"])
    parts["model"].weights = str(run.best_checkpoint)
    parts["model"].weights_key = None  # it is a key in the file of the initial weights
    return SavedRun(run, **parts, id=run_id(run))
