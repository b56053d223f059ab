"""``python -m cait_finetune.predict model=DIR images=PATH_OR_GLOB``: classify image files.

Only the exported SavedModel is used: preprocessing and class names are inside it.
"""

from __future__ import annotations

import csv
import glob
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cait_finetune.errors import UserError, bad_value
from cait_finetune.keys import read_keys
from cait_tf.quiet import quiet_imports

_ENDINGS = {".jpg", ".jpeg", ".png", ".gif", ".bmp"}


@dataclass
class PredictConfig:
    """The keys of the command.

    ``model`` is an exported SavedModel or a run directory; ``images`` a file, a folder (searched with
    its subfolders) or a glob; ``output`` an optional CSV file.
    """

    model: str = MISSING
    images: str = MISSING
    top_k: int = 3
    batch_size: int = 32
    output: str | None = None


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of a file, most probable first, or why it has none."""

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""


def read_config(arguments: list[str]) -> PredictConfig:
    """Check the command line.

    Raises:
        UserError: an unknown key, a wrong type, a missing value, or a number below 1.
    """
    config = read_keys(arguments, PredictConfig)
    for key in ("top_k", "batch_size"):
        if getattr(config, key) < 1:
            raise bad_value(key, getattr(config, key), "at least 1")
    return config


def find_images(images: str) -> list[Path]:
    """The files a path or glob names, sorted.

    Raises:
        UserError: there is none.
    """
    path = Path(images).expanduser()
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.suffix.lower() in _ENDINGS]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    found = sorted(file for file in found if file.is_file())
    if not found:
        raise bad_value("images", images, f"a file, a glob or a folder with {', '.join(_ENDINGS)}")
    return found


def find_model(model: str) -> Path:
    """The SavedModel directory that `model` is, or that the run in it exported.

    Raises:
        UserError: there is none.
    """
    for candidate in (Path(model), Path(model) / "export" / "saved_model"):
        if (candidate / "saved_model.pb").is_file():
            return candidate
    raise bad_value("model", model, "the directory of an exported SavedModel, or of a run with one")


def predict(
    model: Path, files: list[Path], top_k: int = 3, batch_size: int = 32
) -> Iterator[Prediction]:
    """One prediction a file, in order; a file that is no image gets its error and stops nothing."""
    with quiet_imports():
        import numpy as np
        import tensorflow as tf

        tf.config.list_physical_devices()  # the first look at the devices chatters too

    loaded = tf.saved_model.load(str(model))
    serve = loaded.signatures["serving_default"]
    names = [name.decode() for name in loaded.labels().numpy()]

    def classify(batch: list[tuple[Path, bytes]]) -> list[Prediction]:
        try:
            served = serve(image_bytes=tf.constant([data for _, data in batch]))
        except tf.errors.InvalidArgumentError as error:
            if len(batch) == 1:
                reason = str(error.message).splitlines()[0]
                return [Prediction(batch[0][0], error=f"not an image ({reason})")]
            return [prediction for one in batch for prediction in classify([one])]
        probabilities = served["probabilities"].numpy()  # (B, C)
        order = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top_k]  # (B, k)
        return [
            Prediction(path, tuple((names[index], float(row[index])) for index in best))
            for (path, _), row, best in zip(batch, probabilities, order, strict=True)
        ]

    for start in range(0, len(files), batch_size):
        chunk = files[start : start + batch_size]
        yield from classify([(path, path.read_bytes()) for path in chunk])


def write_csv(predictions: list[Prediction], top_k: int, path: Path) -> None:
    """One row a file: path, error, then class and probability for each of the k."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"{name}_{k + 1}" for k in range(top_k) for name in ("class", "probability")]
        writer.writerow(["path", "error", *columns])
        for prediction in predictions:
            flat = [value for pair in prediction.classes for value in pair]
            writer.writerow([prediction.path, prediction.error, *flat])


def _run(arguments: list[str]) -> bool:
    """The command; whether every file was classified."""
    config = read_config(arguments)
    model, files = find_model(config.model), find_images(config.images)
    console = Console(soft_wrap=True)
    predictions = []
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("images", total=len(files))
        for prediction in predict(model, files, config.top_k, config.batch_size):
            predictions.append(prediction)
            progress.advance(bar)
    shown = Table()
    shown.add_column("image", overflow="fold")  # a long path is shown whole, over several lines
    shown.add_column("classes", overflow="fold", min_width=len("classes"))
    for prediction in predictions:
        classes = ", ".join(f"{name} {share:.1%}" for name, share in prediction.classes)
        shown.add_row(str(prediction.path), prediction.error or classes)
    console.print(shown)
    if config.output:
        write_csv(predictions, config.top_k, Path(config.output))
        console.print(f"written to {config.output}")
    return not any(prediction.error for prediction in predictions)


def main() -> None:
    """Entry point; exit status 1 on a mistake, 2 when some files could not be classified."""
    try:
        complete = _run(sys.argv[1:])
    except UserError as error:
        sys.exit(f"cait_finetune.predict: {error}")
    sys.exit(0 if complete else 2)


if __name__ == "__main__":
    main()
