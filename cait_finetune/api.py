"""The three functions for notebooks and programs. TensorFlow loads when one of them is called."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cait_finetune.inference.results import Predictions
    from cait_finetune.runs.notebook import Run

#: Held while a run goes on in this process.
_ONE_RUN = threading.RLock()


def finetune(*overrides: str, recipe: str = "config", directory: str | Path | None = None) -> Run:
    """Fine-tune as ``python -m cait_finetune -cn RECIPE OVERRIDES…`` does.

    Args:
        overrides: as on the command line: ``"dataset=flowers", "train.epochs=5"``; with
            ``"resume=DIR"`` a run that was cut off goes on.
        recipe: the name of a recipe.
        directory: the run's, by default ``outputs/DATASET/MODEL/TIME``.

    A second call, from another thread of the program, waits until the first has returned: a run seeds
    the random numbers of the whole process.

    Returns:
        The finished run, which shows its metrics and curves in a notebook.

    Raises:
        UserError: anything that you can mend; what was finished is kept. Also: this process has loaded
            Keras on another backend than TensorFlow.
    """
    from cait_finetune.cli.hydra_app import configure_run
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
    with _ONE_RUN:
        config, usual, by_time = configure_run(*overrides, recipe=recipe)
        if config.resume is not None and directory is not None:
            got = f"{directory} beside resume"
            raise bad_value("directory", got, "None: a run stays where it is")
        if directory is None:
            directory = claim("directory", usual) if by_time else usual
        else:
            directory = expanded_path("directory", directory)
        with restored_process_state():
            with quiet_imports():
                import cait_finetune.workflow.finetune as workflow

            workflow.finetune(config, directory)
        return load_run(directory)


def load_run(directory: str | Path) -> Run:
    """A run that is finished, or has at least saved weights.

    Raises:
        UserError: there is none in `directory`, or it cannot be read.
    """
    from cait_finetune.config.places import expanded_path
    from cait_finetune.runs.notebook import Run
    from cait_finetune.runs.saved import read_run

    path = expanded_path("directory", directory)
    read_run(path)  # whose message names the path as it was given
    return Run(read_run(path.absolute()), predict)  # a program may change its working directory


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
        tta: ``none``, ``flip``, ``five_crop`` or ``ten_crop``: probabilities are averaged over these.

    Returns:
        A sequence of one prediction a file, which shows itself as a table in a notebook.

    Raises:
        UserError: no such model or images, or whatever else you can mend; Keras on another backend.
    """
    from cait_finetune.inference import running
    from cait_finetune.runs.notebook import Run
    from cait_finetune.runtime.keras_backend import use_tensorflow
    from cait_finetune.runtime.process_state import restored_logging

    use_tensorflow()

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
