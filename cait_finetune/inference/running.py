"""A prediction from beginning to end, as the command and notebooks ask for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING
from rich.console import Console

from cait_finetune.config.checks import make_folder
from cait_finetune.errors import bad_value, suggest
from cait_finetune.inference.files import find_images
from cait_finetune.inference.found_model import FoundModel, find_model
from cait_finetune.inference.output import check_output
from cait_finetune.inference.prediction import Prediction
from cait_finetune.inference.results import Predictions
from cait_finetune.runs.provenance import Provenance
from cait_finetune.runtime.console import plain_console
from cait_finetune.runtime.progress import progress_bar

_TTA = ("none", "flip", "five_crop", "ten_crop")
_MIRRORS = ("flip", "ten_crop")


@dataclass
class PredictConfig:
    """The keys of the command.

    ``model`` is a run's directory, an exported SavedModel, or an ONNX or LiteRT file; ``images``
    files, folders (searched with their subfolders) and globs; ``output`` an optional CSV or JSON
    file; ``tta`` the test-time augmentation, over which probabilities are averaged; ``maps`` a folder
    for pictures of where the model looks.
    """

    model: str = MISSING
    images: list[str] = MISSING
    top_k: int = 3
    batch_size: int = 32
    output: str | None = None
    tta: str = "none"
    maps: str | None = None


def predict(config: PredictConfig, console: Console | None = None) -> Predictions:
    """Classify the files, draw the maps that are asked for, and on a console show a bar meanwhile.

    Raises:
        UserError: a number below 1, no such model or files, an output that cannot be written, or
            something asked for that needs a run.
    """
    for key in ("top_k", "batch_size"):
        if getattr(config, key) < 1:
            raise bad_value(key, getattr(config, key), "at least 1")
    if config.tta not in _TTA:
        raise bad_value("tta", config.tta, f"one of {', '.join(_TTA)}", suggest(config.tta, _TTA))
    found = find_model(config.model)
    if config.maps:
        found.read_run("maps")
    files = find_images(config.images)
    if config.output:
        check_output(Path(config.output))
    maps = make_folder("maps", Path(config.maps)) if config.maps else None

    backend = found.open()
    upright = _check_augmentation(found, backend.provenance, config.tta)
    checkpoint = None
    if config.maps:
        own = hasattr(backend, "saliency")
        checkpoint = backend if own else found.open_checkpoint("maps", backend.provenance)
    # TensorFlow has been loaded, quietly.
    from cait_finetune.inference.augmentation import Averaged, build_views
    from cait_finetune.inference.classification import classify
    from cait_finetune.inference.maps import draw_maps, places_of

    if config.tta != "none":
        backend = Averaged(backend, build_views(config.tta, upright))
    places = dict(zip(files, places_of(files, maps), strict=True)) if maps else {}
    predictions: list[Prediction] = []
    laps: list[tuple[int, float]] = []
    shown = console or plain_console(quiet=True)
    with progress_bar("images", len(files), shown) as advance:
        begin = time.perf_counter()
        for batch in classify(backend, files, config.top_k, config.batch_size):
            laps.append((len(batch), time.perf_counter() - begin))
            if checkpoint:
                draw_maps(
                    checkpoint.saliency,
                    {one.path: places[one.path] for one in batch if not one.error},
                )
            predictions += batch
            advance(len(batch))
            begin = time.perf_counter()
    return Predictions(predictions, _speed(laps))


def _check_augmentation(found: FoundModel, stated: Provenance | None, tta: str) -> bool:
    """Whether photographs are turned as their EXIF says: as the model or its run states.

    Raises:
        UserError: mirrored images are asked for, and the run's mean something else then.
    """
    if tta == "none" or not (stated or found.run):
        return True
    if stated:
        allow_flip, upright = stated.allow_flip, bool(stated.preprocessing["upright"])
    else:
        dataset = found.read_run("tta").dataset
        allow_flip, upright = dataset.allow_flip, dataset.upright
    if tta in _MIRRORS and not allow_flip:
        raise bad_value(
            "tta",
            tta,
            "none or five_crop: the run's images are never mirrored (dataset.allow_flip=false)",
        )
    return upright


def _speed(laps: list[tuple[int, float]]) -> float:
    """Images a second; the first of several batches, in which the graph is traced, does not count."""
    images, seconds = (sum(values) for values in zip(*laps[1:] or laps, strict=True))
    return images / seconds
