"""``cait-finetune show_batch dataset=… model=… augment=…``: draw a training batch.

The command draws the first images of the first training batch, with their labels, to ``batch.png`` in
the run's directory. Augmentation and mixing are those of training with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cait_finetune.config import Config
from cait_finetune.runtime.console import plain_console
from cait_finetune.tasks import Task, task_of
from cait_tf.label_groups import label_groups

if TYPE_CHECKING:
    import numpy as np

#: The picture shows at most this many images of a batch.
MOST = 32


def show_batch(config: Config, directory: Path) -> Path:
    """Make a training batch and draw it.

    Returns:
        The path of the picture.

    Raises:
        UserError: the configuration has a mistake, or the data set cannot be loaded.
    """
    import tensorflow as tf
    from hydra.core.hydra_config import HydraConfig

    from cait_finetune import model as models
    from cait_finetune.data.corrupt import CorruptImages
    from cait_finetune.data.load import load_source
    from cait_finetune.data.pipeline import train_batches
    from cait_finetune.data.preprocess import configured
    from cait_finetune.data.statistics import settle_statistics
    from cait_finetune.report.batch_sheet import draw_batch_sheet

    variant, task = models.check(config.model), task_of(config.task)
    source, console = (
        load_source(config.dataset, task.target, channels=config.model.in_channels),
        plain_console(),
    )
    for line in source.describe(config.dataset.name):
        console.print(line, highlight=False)
    settle_statistics(config, source, console)
    preprocessing = configured(
        config.preprocessing,
        variant,
        config.model.image_size,
        config.dataset.upright,
        config.model.in_channels,
    )
    corrupt = CorruptImages(config.dataset.on_corrupt)
    batches = train_batches(
        source=source,
        config=config.dataset,
        augmentation=config.augment,
        preprocessing=preprocessing,
        batch_size=config.train.batch_size,
        seed=config.seed,
        corrupt=corrupt,
    )
    try:
        images, labels, _ = next(iter(batches.take(1)))
    except tf.errors.OpError as error:
        corrupt.explain(error)
        raise
    images, labels = images.numpy()[:MOST], labels.numpy()[:MOST]
    shown = preprocessing.denormalise(images)
    names = source.class_names
    captions = [_captioned(label, names, task) for label in labels]
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    height, width = preprocessing.image_size
    title = (
        f"{config.dataset.name}, augment={chosen.get('augment', 'custom')}, "
        f"{height} × {width}, seed {config.seed}"
    )
    if len(images) < config.train.batch_size:
        title += f": the first {len(images)} of a batch of {config.train.batch_size}"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "batch.png"
    draw_batch_sheet(shown, captions, title, path)
    console.print(path)
    return path


def _captioned(label: np.ndarray, names: Sequence[str], task: Task) -> str:
    if task.numbers:
        return number_caption(label, names)
    if task.answers == "labels":
        return several_caption(label, names)
    return caption(label, names, task.one_class)


def caption(label: np.ndarray, names: Sequence[str], one_class: bool = True) -> str:
    """Return an image's caption: its class, its classes, or the percentage of each mixed class.

    Args:
        label: ``()`` the index of a class, or ``(C,)`` a share for each class. With one class per
            image the shares add up to the example's weight.
        names: the class names in column order.
        one_class: whether an image has exactly one class.
    """
    if not label.shape:
        return names[int(label)]
    total = (float(label.sum()) or 1.0) if one_class else 1.0
    percent = [round(100 * float(share) / total) for share in label]
    there = [index for index in (-label).argsort(kind="stable") if percent[index]]
    if all(percent[index] == 100 for index in there):
        return "\n".join(names[index] for index in there) or "no class"
    return "\n".join(f"{names[index]} {percent[index]}%" for index in there)


def several_caption(label: np.ndarray, names: Sequence[str]) -> str:
    """Return an image's caption: the `caption` of each label that it has.

    Args:
        label: ``(C,)`` a share for each class. The shares of a label add up to the example's weight.
        names: the class names ``label=class`` in column order.
    """
    found = [
        caption(label[group.columns], group.column_names)
        for group in label_groups(names)
        if label[group.columns].any()
    ]
    return "\n".join(found) or "no class"


def number_caption(label: np.ndarray, names: Sequence[str]) -> str:
    """Return an image's caption: each target with its number, and the image's weight if it has one.

    Args:
        label: ``(T,)``, or ``(T + 1,)`` with the weight in the last column.
        names: the targets, T.
    """
    return "\n".join(
        f"{name} {value:.4g}" for name, value in zip((*names, "weight"), label, strict=False)
    )


def main() -> None:
    """Entry point."""
    from cait_finetune.cli.hydra_app import run_with_hydra

    def load() -> Callable[[Config, Path], object]:
        import cait_finetune.model  # noqa: F401  loads TensorFlow, which logs

        return show_batch

    run_with_hydra("show_batch", load)
