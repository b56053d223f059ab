"""``cait-finetune evaluate -cn i1k_eval model=…``: measure the accuracy of given weights.

``evaluate run=RUN dataset.data_dir=DIR dataset.evaluation_only=true`` scores the best weights of a run on
other images, with the run's own preprocessing.

The command writes one row per crop ratio to ``accuracies.csv`` and ``accuracies.md``, with the published
accuracies. The command skips a row that the table has for the same weight values, images and
preprocessing. An interrupted command therefore continues its table.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cait_finetune.config import Config
from cait_finetune.config.metrics import TOP5_FROM, format_value
from cait_finetune.errors import bad_value
from cait_finetune.runtime.console import plain_console
from cait_finetune.runtime.progress import Advance, progress_bar
from cait_finetune.tasks import task_of

if TYPE_CHECKING:  # TensorFlow loads after the configuration is checked
    from cait_finetune.data.preprocess import Preprocessing
    from cait_finetune.data.source import Source
    from cait_finetune.report.accuracy_table import Accuracy, Conditions
    from cait_tf.variants import Variant

#: Published accuracies were measured on the validation split of these data sets.
_IMAGENET = ("imagenet2012", "imagenet_folder")
_VALIDATION_IMAGES, _CLASSES = 50_000, 1000
_VALIDATION_FILE = "ILSVRC2012_val_"
_LOOKED_AT = 64  # images whose sizes are compared


def evaluate(config: Config, directory: Path) -> Path:
    """Evaluate the configured weights on a whole split, once for each crop ratio.

    Returns:
        The path of the table's Markdown file.

    Raises:
        UserError: the head of the weights is for other classes, or another error that the user can
            correct.
    """
    import keras

    from cait_finetune import model as models
    from cait_finetune.data.corrupt import CorruptImages
    from cait_finetune.data.fingerprint import images as images_of
    from cait_finetune.data.fingerprint import split_print
    from cait_finetune.data.load import load_source
    from cait_finetune.data.pipeline import evaluation_stream
    from cait_finetune.data.preprocess import configured
    from cait_finetune.report.accuracy_table import (
        Accuracy,
        AccuracyTable,
        Conditions,
        channels,
        cropped,
        short,
    )
    from cait_finetune.runs.provenance import notes_on_weights
    from cait_finetune.runtime.tuning import configure_process
    from cait_finetune.scores.evaluation import Evaluator
    from cait_finetune.scores.intervals import wilson

    task = task_of(config.task)
    if not task.one_class:
        raise bad_value(
            "task",
            config.task.name,
            "classification: the command measures images with one class",
            "A run's report.html and result.json have its metrics; predict writes its answers.",
        )
    if config.preprocessing.crop_pct is not None:
        raise bad_value(
            "preprocessing.crop_pct",
            config.preprocessing.crop_pct,
            "null: evaluation.crop_pcts lists the crop ratios to measure",
            f"Set evaluation.crop_pcts=[{config.preprocessing.crop_pct}].",
        )
    variant = models.check(config.model)
    configure_process(config, variant, training=False)
    directory.mkdir(parents=True, exist_ok=True)
    table = AccuracyTable(directory)
    console = plain_console()
    image_size = config.model.image_size
    split = config.evaluation.split
    source = load_source(config.dataset, task.target, [split], config.model.in_channels)
    for line in (*source.describe(config.dataset.name), *_unlike_the_run(config, source)):
        console.print(line, highlight=False)
    if split in (*source.divided, *source.default_slices):
        console.print(
            f"score  {split} is only a part of the images, as in training: add "
            "dataset.evaluation_only=true to score all images"
            if config.dataset.source in ("folder", "csv", "imagenet_folder")
            else f"score  {split} is a slice: set dataset.splits.{split} to choose another"
        )
    else:
        place = f" of {config.dataset.data_dir}" if config.dataset.data_dir else ""
        console.print(f"score  {split}, {source.sizes[split]:,} images{place}", highlight=False)
    keras.utils.set_random_seed(config.seed)  # for weights that no file sets
    model = models.build(config.model, source.class_names, "float32", config.head)
    if report := model.loading_report:
        models.check_classes("model.weights", config.model.weights, report, source.class_names)
        for note in report.notes:
            console.print(f"model  {note}")
    channels_of = config.model.in_channels
    now = configured(config.preprocessing, variant, image_size, config.dataset.upright, channels_of)
    for note in notes_on_weights(config.model.weights, now, source, [split]):
        console.print(note)
    weights = models.weights_checksum(model)
    images = split_print(list(images_of(source, split)))

    def conditions(preprocessing: Preprocessing) -> Conditions:
        return Conditions(
            config.model.name,
            config.model.weights,
            short(weights),
            config.dataset.name,
            split,
            short(images.sha256),
            short(images.content_sha256),
            "x".join(map(str, dict.fromkeys(preprocessing.image_size))),
            preprocessing.crop_pct,
            preprocessing.resize_mode,
            preprocessing.interpolation,
            preprocessing.antialias,
            preprocessing.upright,
            channels(preprocessing.mean),
            channels(preprocessing.std),
        )

    def say(row: Accuracy, remark: str = "") -> None:
        beside = "" if row.difference is None else f" ({row.difference:+.2f} against the published)"
        top1 = row.top1 / 100
        several = len(source.class_names) >= TOP5_FROM
        top5 = f", top-5 {row.top5:.2f}%" if several else ""
        shown = format_value("top1", top1, wilson(top1, row.images) if row.images else None)
        console.print(
            f"{row.conditions.model}, {cropped(row.conditions)}: top-1 {shown}{beside}{top5} "
            f"on {row.images:,} images{remark}"
        )

    evaluator = Evaluator(model)
    corrupt = CorruptImages(config.dataset.on_corrupt)
    padded = config.preprocessing.resize_mode == "pad"  # pad crops nothing, so it has one row
    for crop_pct in [None] if padded else config.evaluation.crop_pcts:
        preprocessing = configured(
            dataclasses.replace(config.preprocessing, crop_pct=crop_pct),
            variant,
            image_size,
            config.dataset.upright,
            channels_of,
        )
        given = conditions(preprocessing)
        # Without a hash of the contents, the files may have changed since the last evaluation.
        found = table.find(given) if images.content_sha256 else None
        if found and (config.dataset.on_corrupt == "skip" or not found.left_out):
            say(found, "; in the table already")
            continue
        batches = evaluation_stream(
            source, split, preprocessing, config.train.eval_batch_size, corrupt, config.dataset
        )
        name = f"{config.model.name}, {cropped(given)}"
        with progress_bar(name, source.sizes[split], console) as advance:
            metrics = evaluator(_shown(advance, batches))
        left_out = source.sizes[split] - metrics.examples + source.left_out.get(split, 0)
        published = (None, None)
        if not left_out and _as_published(config, source, split, preprocessing, variant):
            published = models.published_accuracy(variant, preprocessing.image_size, given.crop_pct)
        row = Accuracy(
            given,
            metrics.examples,
            left_out,
            round(100 * metrics.top1, 3),
            round(100 * metrics.top5, 3),
            *published,
        )
        table.add(row)
        say(row)
    console.print(f"table  {table.markdown}")
    return table.markdown


def _unlike_the_run(config: Config, source: Source) -> list[str]:
    """Return lines on how the images differ from the images of the run that ``run=RUN`` names."""
    from cait_finetune.config.yaml_files import Folders
    from cait_finetune.runs.directory import RunDirectory
    from cait_finetune.runs.identity import other_data, place_notes

    if Folders.own is None or not (run := RunDirectory(Folders.own)).identity.is_file():
        return []
    place = config.dataset.data_dir
    notes = place_notes(run, place) if run.read_config().dataset.data_dir == place else []
    if not config.dataset.evaluation_only:  # true: the user chose other images
        notes += [f"data   {line}" for line in other_data(run, source)]
    return notes


def _as_published(
    config: Config, source: Source, split: str, preprocessing: Preprocessing, variant: Variant
) -> bool:
    """Return whether the published accuracies were measured on these images with this preprocessing.

    The function recognises ImageNet's validation images by their file names and their many sizes: copies that
    keep the names, such as ImageNet-C, have one size. The crop ratio is not compared:
    `published_accuracy` finds the accuracy of each ratio.
    """
    from cait_finetune.data.preprocess import Preprocessing

    own = Preprocessing(
        variant.image_size,
        preprocessing.crop_pct,
        variant.interpolation,
        variant.mean,
        variant.std,
        upright=False,
    )
    dataset = config.dataset
    if dataset.source == "tfds":
        validation = getattr(dataset.splits, split) == "validation"
    else:
        names = map(os.path.basename, source.ids(split).tolist())
        validation = all(name.startswith(_VALIDATION_FILE) for name in names)
    return (
        dataset.name in _IMAGENET
        and validation
        and source.sizes[split] == _VALIDATION_IMAGES
        and len(source.class_names) == _CLASSES
        and preprocessing == own
        and _has_several_sizes(source, split)
    )


def _has_several_sizes(source: Source, split: str) -> bool:
    from PIL import Image

    examples = source.examples(split).take(_LOOKED_AT).as_numpy_iterator()
    return len({Image.open(io.BytesIO(example["image"])).size for example in examples}) > 1


def _shown(advance: Advance, batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches, and advance the progress bar by the images of each batch."""
    for batch in batches:
        yield batch
        advance(int(batch[2].numpy().sum()))


def main() -> None:
    """Entry point."""
    from cait_finetune.cli.hydra_app import run_with_hydra

    def load() -> Callable[[Config, Path], object]:
        import cait_finetune.scores.evaluation  # noqa: F401  loads TensorFlow, which logs

        return evaluate

    run_with_hydra("evaluate", load)
