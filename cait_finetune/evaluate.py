"""``python -m cait_finetune.evaluate -cn i1k_eval model=…``: score weights as they are.

For each crop ratio one row of ``accuracies.csv`` and ``accuracies.md``, beside the published figures.
Rows that are there already are not measured again, so an interrupted table is gone on with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cait_finetune.config import Config
from cait_finetune.console import plain_console
from cait_finetune.errors import bad_value
from cait_finetune.image_progress import ImageProgress

#: The validation images that the published figures are of.
_IMAGENET = ("imagenet2012", "imagenet_folder")


def evaluate(config: Config, directory: Path) -> Path:
    """Evaluate the configured weights on a whole split, once for each crop ratio.

    Returns:
        The table's Markdown file.

    Raises:
        UserError: weights whose head is for other classes, and whatever else a user can mend.
    """
    from cait_finetune import model as models
    from cait_finetune.data.corrupt import CorruptImages
    from cait_finetune.data.opening import open_source
    from cait_finetune.data.pipeline import evaluation_stream
    from cait_finetune.data.preprocess import configured
    from cait_finetune.report.accuracy_table import Accuracy, AccuracyTable
    from cait_finetune.scores.evaluation import Evaluator
    from cait_finetune.train.cores import share_cores

    if config.dataset.multi_label:
        raise bad_value(
            "dataset.multi_label", "true", "false: accuracies are of one class an image"
        )
    variant = models.check(config.model)
    share_cores(config, variant, training=False)
    directory.mkdir(parents=True, exist_ok=True)
    table = AccuracyTable(directory)
    console = plain_console()
    image_size = config.model.image_size or variant.image_size

    def key(crop_pct: float) -> tuple:
        return (config.model.name, config.model.weights, config.dataset.name, image_size, crop_pct)

    def say(row: Accuracy, remark: str = "") -> None:
        beside = "" if row.difference is None else f" ({row.difference:+.2f} to the published)"
        console.print(
            f"{row.model}, crop {row.crop_pct:g}: top-1 {row.top1:.2f}%{beside}, "
            f"top-5 {row.top5:.2f}% on {row.images:,} images{remark}"
        )

    # Also when no image is needed: a wrong folder is said.
    source = open_source(config.dataset, [config.evaluation.split])
    wanted = []
    for crop_pct in config.evaluation.crop_pcts:
        if found := table.find(key(crop_pct)):
            say(found, "; in the table already")
        else:
            wanted.append(crop_pct)
    if not wanted:
        return table.markdown

    role = config.evaluation.split
    model = models.build(config.model, len(source.class_names), "float32")
    report = model.loading_report
    if report and report.initialised:
        raise bad_value(
            "model.weights",
            f"{config.model.weights}, whose head is not for the {len(source.class_names)} classes of "
            f"{config.dataset.name}",
            "weights with a head for them",
        )
    evaluator = Evaluator(model)
    corrupt = CorruptImages(config.dataset.on_corrupt)
    for crop_pct in wanted:
        preprocessing = configured(
            dataclasses.replace(config.preprocessing, crop_pct=crop_pct),
            variant,
            image_size,
            config.dataset.upright,
        )
        batches = evaluation_stream(
            source, role, preprocessing, config.train.eval_batch_size, corrupt, config.dataset
        )
        name = f"{config.model.name}, crop {crop_pct:g}"
        with ImageProgress(console, name, source.sizes[role]) as progress:
            figures = evaluator(_shown(progress, batches))
        published = models.published_accuracy(variant, image_size, crop_pct)
        row = Accuracy(
            *key(crop_pct),
            figures.examples,
            round(100 * figures.top1, 3),
            round(100 * figures.top5, 3),
            *(published if config.dataset.name in _IMAGENET else (None, None)),
        )
        table.add(row)
        say(row)
    console.print(f"table  {table.markdown}")
    return table.markdown


def _shown(progress: ImageProgress, batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, with a bar that counts their images."""
    for batch in batches:
        yield batch
        progress.advance(int(batch[2].numpy().sum()))


def main() -> None:
    """Entry point."""
    from cait_finetune.cli import run_story

    def story() -> Callable[[Config, Path], object]:
        import cait_finetune.data.source
        import cait_finetune.scores.evaluation  # noqa: F401  TensorFlow starts here, and talks

        return evaluate

    run_story(story)


if __name__ == "__main__":
    main()
