"""Find the model and the images, and classify the images, for the command and for notebooks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cait_finetune.config.checks import make_folder
from cait_finetune.config.keys import check_keys, key
from cait_finetune.data.image_files.listing import LeftOut
from cait_finetune.errors import bad_value
from cait_finetune.inference.files import find_images
from cait_finetune.inference.found_model import FoundModel, find_model
from cait_finetune.inference.output import check_output
from cait_finetune.inference.prediction import Prediction
from cait_finetune.inference.results import Predictions
from cait_finetune.runs.provenance import Provenance
from cait_finetune.runtime.console import plain_console
from cait_finetune.runtime.progress import progress_bar
from cait_tf.arguments import image_shape

_TTA = ("none", "flip", "five_crop", "ten_crop")
_MIRRORS = ("flip", "ten_crop")
_TOP_K = 3


@dataclass
class PredictConfig:
    """The keys of the command."""

    model: str | None = key("A SavedModel, ONNX or LiteRT export, or a run's directory.", None)
    images: list[str] = key("Image files, folders (with their subfolders) and globs.")
    run: str | None = key("Directory of a run, whose export or best weights classify.", None)
    top_k: int = key("Number of classes per image.", _TOP_K, low=1)
    batch_size: int = key("Images per batch.", 32, low=1)
    output: str | None = key("CSV or JSON file of all rows. null: the console shows them.", None)
    tta: str = key("Test-time augmentation: average the probabilities of several views.", "none",
                   choices=_TTA)  # fmt: skip
    maps: str | None = key("Folder for one class saliency map per image. null: no maps.", None)


def predict(config: PredictConfig, console: Console | None = None) -> Predictions:
    """Classify the files, and draw their maps if ``maps`` is set.

    Args:
        console: shows a progress bar. `None`: no progress bar.

    Raises:
        UserError: a key has a wrong value, the model or a file does not exist, ``output`` or
            ``maps`` cannot be written, or ``maps`` is set and no run contains the model.
    """
    check_keys(config, "")
    if (config.run is None) == (config.model is None):
        got = "nothing" if config.run is None else "run= and model="
        raise bad_value(
            "run", got, "run=DIR, the directory of a run, or model=FILE, an export of one"
        )
    key, place = ("model", config.model) if config.run is None else ("run", config.run)
    found = find_model(place, key)
    if config.maps:
        found.read_run("maps")
    left_out = LeftOut()
    channels = found.channels()
    bands = channels != 3
    if bands and config.tta != "none":
        raise bad_value(
            "tta",
            f"{config.tta} with a model of {channels} channels",
            "none: the views are made of RGB images",
            "Leave tta out.",
        )
    files = find_images(config.images, left_out, bands)
    if bands:
        from cait_finetune.data.tiff import check_reader  # loads TensorFlow

        check_reader([str(path) for path in files], "images")
    shown = console or plain_console(quiet=True)
    for line in left_out.notes():
        shown.print(line, highlight=False)
    if config.output:
        check_output(Path(config.output))
    maps = make_folder("maps", Path(config.maps)) if config.maps else None

    backend = found.open()
    if backend.several:
        if config.top_k != _TOP_K:
            shown.print("top_k  1: the model names one class of each label", highlight=False)
    elif config.top_k > max(len(backend.class_names), _TOP_K):
        line = f"top_k  {len(backend.class_names)}: the model has no more classes"
        shown.print(line, highlight=False)
    size = getattr(backend, "input_size", None)
    upright, ratio = _check_augmentation(found, backend.provenance, config.tta, size)
    checkpoint = None
    if config.maps:
        own = hasattr(backend, "saliency")
        checkpoint = backend if own else found.open_checkpoint("maps", backend.provenance)
    # `open` has loaded TensorFlow with its messages hidden.
    from cait_finetune.inference.augmentation import Averaged, build_views
    from cait_finetune.inference.classification import classify
    from cait_finetune.inference.maps import draw_maps, note_on_earlier_maps, places_of

    if config.tta != "none":
        backend = Averaged(backend, build_views(config.tta, upright, ratio))
    places = dict(zip(files, places_of(files, maps), strict=True)) if maps else {}
    if maps and (line := note_on_earlier_maps(maps, list(places.values()))):
        shown.print(line, highlight=False)
    predictions: list[Prediction] = []
    laps: list[tuple[int, float]] = []
    with progress_bar("images", len(files), shown) as advance:
        begin = time.perf_counter()
        for batch in classify(backend, files, config.top_k, config.batch_size, bands):
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


def _check_augmentation(
    found: FoundModel, stated: Provenance | None, tta: str, size: tuple[int, int] | None
) -> tuple[bool, float | None]:
    """Return `upright` and `ratio` of `augmentation.build_views`.

    The model's provenance or the run's configuration states them. If neither exists, photographs are
    turned, and the ratio is that of `size`, the model's input; 1 if the model takes any size.

    Raises:
        UserError: `tta` mirrors images, and the run has ``dataset.allow_flip=false``.
    """
    if tta == "none" or not (stated or found.run):
        height, width = size or (1, 1)
        return True, height / width
    if stated:
        allow_flip, way = stated.allow_flip, stated.preprocessing
    else:
        run = found.read_run("tta")
        allow_flip, way = run.dataset.allow_flip, vars(run.build_preprocessing())
    if tta in _MIRRORS and not allow_flip:
        raise bad_value(
            "tta",
            tta,
            "none or five_crop: the run's images are never mirrored (dataset.allow_flip=false)",
        )
    height, width = image_shape(way["image_size"])
    return bool(way["upright"]), height / width if way["resize_mode"] == "shorter_side" else None


def _speed(laps: list[tuple[int, float]]) -> float:
    """Return images per second.

    The first of several batches does not count, because TensorFlow traces the graph in it.

    Args:
        laps: number of images and seconds of each batch.
    """
    images, seconds = (sum(values) for values in zip(*laps[1:] or laps, strict=True))
    return images / seconds
