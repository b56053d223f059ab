"""``cait-finetune attention run=RUN_DIRECTORY``: draw a fine-tuned model's saliency maps.

The command draws a contact sheet of correctly classified test images and of the most confident
mistakes, each with its class saliency map (`cait_tf.attention_maps`). The sheet is
``attention.png`` in the run's directory; ``split`` and ``output`` choose another split and file.
"""

from __future__ import annotations

import heapq
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.entry import command
from cait_finetune.config.advice import advise
from cait_finetune.config.checks import make_folder
from cait_finetune.config.keys import check_keys, key
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import bad_value
from cait_finetune.runs.saved import RunDataConfig, read_run
from cait_finetune.runtime.console import plain_console
from cait_tf.quiet import quiet_imports


@dataclass
class AttentionConfig:
    """The keys of the command."""

    run: str = key("Directory of a run.")
    split: str = key("The split of the images.", "test", choices=("train", "validation", "test"))
    count: int = key("Largest number of correct images, and of mistakes.", 12, low=1)
    output: str | None = key("PNG file. null: attention.png in the run's directory.", None)
    dataset: RunDataConfig = field(default_factory=RunDataConfig)


def draw_attention(config: AttentionConfig) -> Path:
    """Score the split, choose the images, and draw them.

    Returns:
        The path of the contact sheet.

    Raises:
        UserError: a key has a wrong value, the run does not exist or is multi-label, or its images
            cannot be found.
        ChangedData: the images differ from the run's.
    """
    check_keys(config, "")
    root = expanded_path("run", config.run)
    run = read_run(root)
    path = Path(config.output) if config.output else root / "attention.png"
    if path.suffix.lower() != ".png":
        raise bad_value(
            "output",
            config.output,
            "a file that ends in .png",
            f"Write {advise('output', f'{path}.png')}",
        )
    path = make_folder("output", path.parent) / path.name
    dataset = run.dataset
    with quiet_imports():
        import numpy as np
        import tensorflow as tf

        from cait_finetune import model as models
        from cait_finetune.data.corrupt import CorruptImages
        from cait_finetune.data.pipeline import evaluation_stream
        from cait_finetune.report.attention_sheet import Tile, draw_attention_sheet

        tf.config.list_physical_devices()

    if not run.task.one_class:
        raise bad_value("run", root, "a run with one class per image (task=classification)")
    console = plain_console()
    source = run.load_source(config.dataset, "attention", console.print)
    model = run.build_model(source.class_names)
    preprocessing = run.build_preprocessing()
    corrupt = CorruptImages(dataset.on_corrupt)
    batches = evaluation_stream(
        source, config.split, preprocessing, run.train.eval_batch_size, corrupt, dataset
    )
    classify = tf.function(lambda images: tf.nn.softmax(model(images, training=False)))

    right: list[tuple] = []
    wrong: list[tuple] = []  # a heap, so that the least confident mistake is dropped first
    seen = hits = 0
    steps = -(-source.sizes[config.split] // run.train.eval_batch_size)
    for images, labels, real in track(batches, "images", total=steps, transient=True):
        probabilities = classify(images).numpy()  # (B, C)
        for image, label, row in zip(
            images.numpy()[real], labels.numpy()[real], probabilities[real], strict=True
        ):
            best = int(row.argmax())
            one = (float(row[best]), seen, image, int(label), best)
            seen += 1
            hits += best == label
            if best == label and len(right) < config.count:
                right.append(one)
            elif best != label:
                heapq.heappush(wrong, one)
                if len(wrong) > config.count:
                    heapq.heappop(wrong)

    def tiles(chosen: list[tuple]) -> list[Any]:
        if not chosen:
            return []
        images = np.stack([one[2] for one in chosen])
        maps = models.saliency(model, images)  # (B, H, W)
        shown = preprocessing.denormalise(images)
        names = source.class_names
        return [
            Tile(picture, heat, names[label], names[best], probability)
            for picture, heat, (probability, _, _, label, best) in zip(
                shown, maps, chosen, strict=True
            )
        ]

    title = f"{dataset.name}, {run.model.name}: {hits:,} of {seen:,} {config.split} images right"
    draw_attention_sheet(tiles(right), tiles(sorted(wrong, reverse=True)), title, path)
    console.print(f"{title}\n{path}")
    return path


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune attention"):
        if not helped(sys.argv[1:], __doc__, AttentionConfig):
            draw_attention(read_keys(sys.argv[1:], AttentionConfig))
