"""The three functions for notebooks and programs. Importing them does not load TensorFlow."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cait_finetune.inference.results import Predictions
    from cait_finetune.runs.notebook import Run
    from cait_finetune.train.logbook import OnEpochEnd
    from cait_finetune.workflow.scoring import Metric

#: The lock of the thread that fine-tunes in this process.
_ONE_RUN = threading.RLock()


def finetune(
    *overrides: str,
    recipe: str = "config",
    folder: str | Path | None = None,
    directory: str | Path | None = None,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    class_names: Sequence[str] | None = None,
    on_epoch_end: OnEpochEnd | Sequence[OnEpochEnd] = (),
    metrics: Mapping[str, Metric] | None = None,
) -> Run:
    """Fine-tune as ``python -m cait_finetune -cn RECIPE OVERRIDES…`` does.

    A call from a second thread waits until the first call has returned, because a run seeds the random
    numbers of the whole process.

    Args:
        overrides: as on the command line, such as ``"dataset=flowers", "train.epochs=5"``.
            ``"resume=DIR"`` continues an interrupted run.
        recipe: name of a recipe.
        folder: folder of your own recipes, as for ``-cd``. `None`: our recipes only.
        directory: directory of the run. `None`: ``outputs/DATASET/MODEL/TIME``, or the directory of
            the resumed run.
        train: images and labels in memory: a pair of arrays, a ``tf.data.Dataset`` or another
            iterable of examples. `cait_finetune.data.arrays.write_splits` lists the forms. Images
            must be decoded and upright. PIL images are turned by their EXIF orientation, unless
            ``dataset.upright=false``. The images are written to ``outputs/arrays``, equal images
            only once. `None`: ``dataset=`` names the images.
        validation: as `train`. `None`: the run divides `train` 80/10/10.
        test: as `validation`.
        class_names: a list of the names of labels 0, 1, …, in the order of the model's columns.
            `None`: the names that the data set states, for classes with images. Without stated
            names: integer labels in numeric order, texts in alphabetical order.
        on_epoch_end: one or several functions. Each gets the metrics of an epoch, as in
            ``run.epochs``. If one returns `True`, training ends, and the best weights are scored.
        metrics: further metrics by name: functions that return a number from labels ``(N,)``, or
            ``(N, C)`` for multi-label data, and calibrated probabilities ``(N, C)``. ``run.result``
            has the numbers as ``validation_NAME`` and ``test_NAME``.

    Returns:
        The finished run. A notebook shows its metrics and curves.

    Raises:
        UserError: any error that you can correct, or Keras already runs on another backend than
            TensorFlow. Files that the run has finished are kept.
    """
    from cait_finetune.cli.compose import configure_run
    from cait_finetune.cli.output_place import claim
    from cait_finetune.config.metrics import check_metric_names
    from cait_finetune.config.places import expanded_path
    from cait_finetune.errors import bad_value
    from cait_finetune.runtime.keras_backend import use_tensorflow
    from cait_finetune.runtime.process_state import restored_process_state
    from cait_tf.quiet import quiet_imports

    for word in overrides:
        if not isinstance(word, str):
            raise bad_value(
                "overrides", repr(word), 'a text for each key, such as "train.epochs=5"'
            )
    hooks = [on_epoch_end] if callable(on_epoch_end) else list(on_epoch_end)
    named = {"on_epoch_end": hooks, "metrics": list((metrics or {}).values())}
    for key, functions in named.items():
        if wrong := [one for one in functions if not callable(one)]:
            raise bad_value(key, repr(wrong[0]), "functions")
    check_metric_names(metrics or {})
    use_tensorflow()
    own = None if folder is None else Path(folder)
    if train is not None:
        _refuse_other_images(overrides)
        # Find mistakes in the overrides before images are written.
        words = [word for word in _table_words("images.csv") if "class_names" not in word]
        planned, *_ = configure_run(*words, *overrides, recipe=recipe, folder=own)
        if planned.dataset.class_names is not None:
            raise bad_value(
                "dataset.class_names", f"{planned.dataset.class_names} in the recipe beside train=",
                "class_names= instead", "Give the names of labels 0, 1, … in class_names=.",
            )  # fmt: skip
        split_file = planned.dataset.splits.file
        if split_file is not None and not any("dataset.splits.file" in word for word in overrides):
            raise bad_value(
                "dataset.splits.file", f"{split_file} in the recipe beside train=",
                "null: the file divides the recipe's own images",
                'Add "dataset.splits.file=null".',
            )  # fmt: skip
        splits = {"train": train, "validation": validation, "test": test}
        overrides = (
            *_written(splits, class_names, planned.dataset.upright, planned.model.in_channels),
            *overrides,
        )
    elif (validation, test, class_names) != (None, None, None):
        raise bad_value(
            "train", "nothing beside validation, test or class_names", "images and labels"
        )
    with _ONE_RUN:
        config, usual, by_time = configure_run(*overrides, recipe=recipe, folder=own)
        if config.resume is not None and directory is not None:
            got = f"{directory} beside resume"
            raise bad_value("directory", got, "None: a resumed run keeps its directory")
        if directory is None:
            directory = claim("directory", usual) if by_time else usual
        else:
            directory = expanded_path("directory", directory)
        with restored_process_state():
            with quiet_imports():
                import cait_finetune.workflow.finetune as workflow

            workflow.finetune(config, directory, workflow.Hooks(hooks, metrics or {}))
        return load_run(directory)


def _refuse_other_images(overrides: Sequence[str]) -> None:
    """Refuse overrides that name other images than ``train=``, or set the class names."""
    from cait_finetune.errors import bad_value

    for word in overrides:
        key = re.split("[=@]", word.strip().lstrip("+~"))[0].strip()
        if key in ("dataset", "dataset.data_dir", "dataset.source", "resume"):
            raise bad_value(key, f"{word} beside train=", "one of the two")
        if key == "continue_from":
            raise bad_value(
                key,
                f"{word} beside train=",
                "one of the two",
                "A continued run has its own images.",
            )
        if key == "dataset.class_names":
            raise bad_value(
                key, f"{word} beside train=", "class_names= instead",
                "Give the names of labels 0, 1, … in class_names=.",
            )  # fmt: skip


def _written(
    splits: Mapping[str, Any], class_names: Sequence[str] | None, upright: bool, channels: int
) -> tuple[str, ...]:
    """Write the images to files, and return the overrides that name the files."""
    from cait_finetune.data.arrays import write_splits

    written = write_splits(splits, class_names, Path("outputs/arrays"), upright, channels)
    return _table_words(str(written.table.absolute()), written.class_names)


def _table_words(table: str, class_names: list[str] | None = None) -> tuple[str, ...]:
    """Return the overrides for a table's images. `None`: the table's labels are the classes."""
    from cait_finetune.runs.command_line import override

    place = override("dataset.data_dir", table)
    return "dataset=csv", place, override("dataset.class_names", class_names)


def load_run(directory: str | Path) -> Run:
    """Load a run that has saved its best weights.

    Raises:
        UserError: `directory` holds no such run, or the run cannot be read.
    """
    from cait_finetune.config.places import expanded_path
    from cait_finetune.runs.notebook import Run
    from cait_finetune.runs.saved import read_run

    path = expanded_path("directory", directory)
    read_run(path)  # an error then names the path that the caller gave
    return Run(read_run(path.absolute()), predict)  # the working directory may change later


def predict(
    model: Run | str | Path,
    images: str | Path | Iterable[str | Path],
    top_k: int = 3,
    *,
    batch_size: int = 32,
    tta: str = "none",
) -> Predictions:
    """Classify image files as ``python -m cait_finetune predict`` does.

    Args:
        model: a run or its directory, an exported SavedModel, or an ONNX or LiteRT file.
        images: a file, a folder, a glob, or several of these.
        top_k: number of classes per image.
        batch_size: images per forward pass.
        tta: test-time augmentation: ``none``, ``flip``, ``five_crop`` or ``ten_crop``. Probabilities
            are averaged over the views.

    Returns:
        A sequence with one prediction per file. A notebook shows it as a table.

    Raises:
        UserError: the model or an image does not exist, any other error that you can correct, or Keras
            already runs on another backend than TensorFlow.
    """
    from cait_finetune.errors import bad_value
    from cait_finetune.inference import running
    from cait_finetune.runs.notebook import Run
    from cait_finetune.runtime.keras_backend import use_tensorflow
    from cait_finetune.runtime.process_state import restored_logging

    use_tensorflow()
    if isinstance(images, Run):
        raise bad_value("images", "a run", "paths of image files", "Write predict(run, images).")
    if isinstance(model, Run):
        model.saved.check_in_place()
    one = isinstance(images, str | Path)
    if not one:
        images = list(images)
        other = [type(image).__name__ for image in images if not isinstance(image, str | Path)]
        if other:
            raise bad_value(
                "images", f"{other[0]} for a path", "paths of image files",
                "For decoded images write run.model(run.preprocess(images)).",
            )  # fmt: skip
    config = running.PredictConfig(
        model=str(model.directory if isinstance(model, Run) else model),
        images=[str(images)] if one else [str(image) for image in images],
        top_k=top_k,
        batch_size=batch_size,
        tta=tta,
    )
    with restored_logging():
        return running.predict(config)
