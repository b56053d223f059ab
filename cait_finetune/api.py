"""The three functions for notebooks and programs. TensorFlow loads at the first call."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cait_finetune.inference.results import Predictions
    from cait_finetune.runs.notebook import Run

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
        train: images and labels: a pair of arrays, a ``tf.data.Dataset`` or another iterable of
            examples, as for `cait_finetune.data.arrays.write_splits`. The function writes them to
            ``outputs/arrays``; a later run with the same images reuses the files. `None`: ``dataset=``
            names the images.
        validation: as `train`. `None`: the run divides `train` 80/10/10.
        test: as `validation`.
        class_names: names of integer labels.

    Returns:
        The finished run. A notebook shows its metrics and curves.

    Raises:
        UserError: any error that you can correct, or Keras already runs on another backend than
            TensorFlow. Files that the run has finished are kept.
    """
    from cait_finetune.cli.compose import configure_run
    from cait_finetune.cli.output_place import claim
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
    use_tensorflow()
    if train is not None:
        for word in overrides:
            if word.startswith(("dataset=", "dataset.data_dir=", "dataset.source=", "resume=")):
                raise bad_value(word.partition("=")[0], f"{word} beside train=", "one of the two")
        overrides = (*_written(train, validation, test, class_names), *overrides)
    elif (validation, test, class_names) != (None, None, None):
        raise bad_value(
            "train", "nothing beside validation, test or class_names", "images and labels"
        )
    with _ONE_RUN:
        own = None if folder is None else Path(folder)
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

            workflow.finetune(config, directory)
        return load_run(directory)


def _written(
    train: Any, validation: Any, test: Any, class_names: Sequence[str] | None
) -> tuple[str, str]:
    """Write the images to files, and return the overrides that name these files."""
    from cait_finetune.data.arrays import write_splits
    from cait_finetune.runs.command_line import override

    splits = {"train": train, "validation": validation, "test": test}
    table = write_splits(splits, class_names, Path("outputs/arrays"))
    return "dataset=csv", override("dataset.data_dir", str(table.absolute()))


def load_run(directory: str | Path) -> Run:
    """Load a run that is finished, or that has saved weights.

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
    from cait_finetune.inference import running
    from cait_finetune.runs.notebook import Run
    from cait_finetune.runtime.keras_backend import use_tensorflow
    from cait_finetune.runtime.process_state import restored_logging

    use_tensorflow()
    if isinstance(model, Run):
        model.saved.check_in_place()
    one = isinstance(images, str | Path)
    config = running.PredictConfig(
        model=str(model.directory if isinstance(model, Run) else model),
        images=[str(images)] if one else [str(image) for image in images],
        top_k=top_k,
        batch_size=batch_size,
        tta=tta,
    )
    with restored_logging():
        return running.predict(config)
