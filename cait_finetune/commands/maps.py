"""``cait-finetune maps images=cat.jpg model=cait_s24_224``: draw a published model's attention maps.

The command writes three PNG files for each image: the class saliency map, the class attention of each
head and block, and attention rollout (`cait_tf.attention_maps`). ``predict run=RUN maps=DIR`` draws the
saliency maps of a fine-tuned model.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.cli.entry import command
from cait_finetune.config.image_size import check_image_size, parse_image_size
from cait_finetune.config.keys import key
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import bad_value
from cait_tf.quiet import quiet_imports


@dataclass
class MapsConfig:
    """The keys of the command."""

    images: list[str] = key("Image files, folders and globs.")
    model: str = key("The variant.", "cait_xxs24_224")
    weights: str = key(
        "pretrained (in the package, or from the hub), hub (Hugging Face), official (the authors' file), "
        "none (random weights), or a weights file.",
        "hub",
    )
    image_size: Any = key(
        "Side of the input in pixels, or [height,width]. null: the variant's.", None, low=1
    )
    classes: str | None = key(
        "Text file with one class name per line. null: the names in the weights file, or ImageNet's.",
        None,
    )
    out: str = key("Folder of the pictures.", "attention_maps")

    def __post_init__(self) -> None:
        self.image_size = parse_image_size("image_size", self.image_size)


def draw(config: MapsConfig) -> None:
    """Draw the maps, and print the path of each picture.

    Raises:
        UserError: the class names do not fit the weights, or a file does not exist.
        CaiTError: the model or an image cannot be read.
    """
    with quiet_imports():
        import keras  # noqa: F401  loads the backend, which logs to stderr

        from cait_finetune.data.image_files.listing import LeftOut
        from cait_finetune.inference.files import find_images
        from cait_tf import attention_maps, imagenet
        from cait_tf.images import load_image
        from cait_tf.models import create_model, locate_weights
        from cait_tf.variants import get_variant
        from cait_tf.weights.class_names import some
        from cait_tf.weights.load import stated_class_names

    variant = get_variant(config.model)
    names = _read_names(config.classes)
    size = config.image_size
    check_image_size("image_size", size, variant.name, variant.patch_size)
    left_out = LeftOut()
    images = find_images(config.images, left_out)
    for line in left_out.notes():
        print(line)
    for path in images:  # report a bad image before a download starts
        load_image(path, (variant.patch_size, variant.patch_size))
    weights = locate_weights(variant, config.weights)
    stated = None if weights == "none" else stated_class_names(weights)
    if stated and names not in (None, stated):
        raise bad_value(
            "classes",
            f"{config.classes}, whose names or order differ from those in {config.weights}",
            f"the names that the weights file states: {some(stated)}",
            "Leave classes out.",
        )
    names = names or stated or imagenet.class_names()
    crop_pct = attention_maps.stated_crop_pct(variant, weights)
    model = create_model(
        variant.name,
        num_classes=len(names),
        image_size=size,
        weights=weights,
    )
    if model.loading_report and any(
        name.startswith("head.") for name in model.loading_report.initialised
    ):
        raise bad_value(
            "classes",
            f"{len(names)} class names: {'; '.join(model.loading_report.notes)}",
            f"one for each class of weights={config.weights}, and weights with a linear head on the class token",
            "Correct the file, or leave the key out. For a run, write attention run=RUN",
        )
    for note in model.loading_report.notes if model.loading_report else ():
        print(f"model  {note}")
    out = expanded_path("out", config.out)
    for path, stem in zip(images, _stems(images), strict=True):
        for file in attention_maps.write_maps(model, path, out, names, crop_pct, stem):
            print(file)


def _stems(images: Sequence[str | Path]) -> list[str]:
    """Return a name for the maps of each image: the stem of its file, with folders if stems are equal."""
    paths = [Path(path).absolute() for path in images]
    plain = Counter(path.stem for path in set(paths))
    above = os.path.commonpath([path.parent for path in paths])
    whole = ["_".join(path.relative_to(above).parts) for path in paths]
    return [
        path.stem if plain[path.stem] == 1 else name
        for path, name in zip(paths, whole, strict=True)
    ]


def _read_names(path: str | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    try:
        return tuple(expanded_path("classes", path).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise bad_value("classes", path, "a text file with a class name in each line") from error


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune maps", any_backend=True):
        if not helped(sys.argv[1:], __doc__, MapsConfig):
            draw(read_keys(sys.argv[1:], MapsConfig))
