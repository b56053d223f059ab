"""Write arrays and datasets of a program to image files, which a run can split, identify and resume."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cait_finetune.data.image_files.listing import OUTPUT_MARK
from cait_finetune.errors import bad_value

TABLE = "images.csv"
_IMAGE, _LABEL = ("image", "img", "pixel_values"), ("label", "labels", "fine_label", "target")


def write_splits(
    splits: Mapping[str, Any], class_names: Sequence[str] | None, folder: Path
) -> Path:
    """Write the images of each split as PNG files and a table of their labels.

    The files go to a folder below `folder` whose name depends on their content. The same images are
    therefore written only once, and are the same data set in every run.

    Args:
        splits: images and labels of ``train``, ``validation`` and ``test``. Each is a pair of arrays,
            ``(N, h, w, 3)`` or ``(N, h, w)`` uint8 and ``(N,)`` integers or texts; or an iterable of
            pairs or of dictionaries with ``image`` and ``label``, such as a ``tf.data.Dataset`` or a
            data set of Hugging Face's ``datasets``. If the others are `None`, the run divides ``train``.
        class_names: names of integer labels. `None`: the data set's own names, or the numbers.

    Returns:
        The path of the table.

    Raises:
        UserError: a split has no images, an image is not uint8, or a label has no name.
    """
    given = {split: data for split, data in splits.items() if data is not None}
    named = None if class_names is None else _checked_names(class_names)
    if len(given) == 2:
        raise bad_value("test", "nothing beside train and validation", "images and labels of all three",
                        "Give test=, too, or only train=: a tenth of train is then kept for each of the others.")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        root = Path(made)
        (root / OUTPUT_MARK).touch()
        digest, used = hashlib.sha256(), set()
        with open(root / TABLE, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", *(["split"] if len(given) > 1 else [])])
            for split, data in given.items():
                names = named or _own_names(data)
                count = 0
                for number, (image, label) in enumerate(_examples(split, data)):
                    name = f"{split}/{number:07d}.png"
                    content = _png(split, image)
                    row = [name, _name(split, label, names), *([split] if len(given) > 1 else [])]
                    used.add(row[1])
                    digest.update(repr(row).encode() + content)
                    path = root / name
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content)
                    table.writerow(row)
                    count += 1
                if not count:
                    raise bad_value(split, "no images", "one image or more")
        if named and (without := [name for name in named if name not in used]):
            raise bad_value("class_names", f"{', '.join(without)}, without an image", "classes with images",
                            "Leave them out, or give their images.")  # fmt: skip
        place = folder / digest.hexdigest()[:24]
        for path in root.rglob("*"):
            kept = place / path.relative_to(root)
            # A file that was edited since an earlier call is written again.
            if path.is_file() and not (kept.is_file() and kept.read_bytes() == path.read_bytes()):
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept)
    return place / TABLE


def _checked_names(class_names: Sequence[str]) -> list[str]:
    names = [] if isinstance(class_names, str | Mapping | set) else list(class_names)
    if not names or len(set(names)) < len(names) or not all(isinstance(one, str) for one in names):
        raise bad_value(
            "class_names",
            repr(class_names),
            "a list of different texts, in the order of the labels",
        )
    return [str(name) for name in names]


def _own_names(data: Any) -> Sequence[str] | None:
    """Return the class names that a data set of Hugging Face or TFDS states. `None`: none."""
    features = getattr(data, "features", None)
    for key in _LABEL:
        names = (
            getattr((features or {}).get(key), "names", None)
            if isinstance(features, Mapping)
            else None
        )
        if names:
            return names
    return None


def _examples(split: str, data: Any) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield each image with its label, from arrays, batches or single examples."""
    if isinstance(data, tuple) and len(data) == 2 and not _is_pair(data):
        images, labels = data
        if len(images) != len(labels):
            raise bad_value(
                split, f"{len(images)} images and {len(labels)} labels", "as many of both"
            )
        yield from zip(map(_pixels, images), map(_plain, labels), strict=True)
        return
    if not isinstance(data, Iterable) or isinstance(data, Mapping | str):
        raise bad_value(
            split, type(data).__name__, "(images, labels), or an iterable of such pairs"
        )
    for element in data:
        if isinstance(element, Mapping):
            element = _of_dictionary(split, element)
        if not isinstance(element, tuple) or len(element) != 2:
            raise bad_value(split, f"an example of type {type(element).__name__}", "(images, labels), or an "
                            "iterable of (image, label)")  # fmt: skip
        image, label = element
        pixels, label = _pixels(image), _plain(label)
        if pixels.ndim == 4:  # a batch
            yield from zip(pixels, map(_plain, label), strict=True)
        else:
            yield pixels, label


def _is_pair(data: tuple) -> bool:
    """Return whether the tuple is one example. Otherwise it is a pair of arrays."""
    return not hasattr(data[0], "__len__")


def _of_dictionary(split: str, element: Mapping[str, Any]) -> tuple[Any, Any]:
    image = next((element[key] for key in _IMAGE if key in element), None)
    label = next((element[key] for key in _LABEL if key in element), None)
    if image is None or label is None:
        raise bad_value(split, f"examples with {', '.join(map(str, element))}", "image and label in each",
                        "Rename the columns.")  # fmt: skip
    return image, label


def _plain(value: Any) -> Any:
    """Return a tensor or array as a NumPy or Python value, and bytes as text."""
    value = value.numpy() if hasattr(value, "numpy") else value
    return value.decode() if isinstance(value, bytes) else value


def _pixels(image: Any) -> np.ndarray:
    """Return the pixels of an array, a tensor or a PIL image."""
    if (
        hasattr(image, "convert") and image.mode[0] not in "IF"
    ):  # PIL; I and F have more than 8 bits
        image = image.convert("RGB")
    return np.asarray(_plain(image))


def _png(split: str, pixels: np.ndarray) -> bytes:
    from PIL import Image

    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)
    if pixels.dtype != np.uint8 or not shaped:
        raise bad_value(
            split,
            f"images of {pixels.dtype} and shape {pixels.shape}",
            "uint8 grey levels from 0 to 255, of shape (h, w, 3), (h, w, 1) or (h, w)",
            "Multiply values from 0 to 1 by 255 and round them: (255 * images).round().astype('uint8').",
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _name(split: str, label: Any, names: Sequence[str] | None) -> str:
    if isinstance(label, str | np.str_):
        if names is not None and str(label) not in names:
            raise bad_value(
                split, f"the label {str(label)!r}", f"one of class_names: {', '.join(names)}"
            )
        return str(label)
    number = np.asarray(label)
    if number.ndim or not np.issubdtype(number.dtype, np.integer):
        raise bad_value(split, f"a label {label!r}", "a whole number or a text for each image",
                        "Give class numbers, not one-hot vectors: labels.argmax(-1).")  # fmt: skip
    if names is None and number >= 0:
        return str(int(number))
    if names is None:
        raise bad_value(
            split, f"label {int(number)}", "labels from 0", "Leave unlabelled images out."
        )
    if not 0 <= int(number) < len(names):
        raise bad_value(
            split, f"label {int(number)}", f"a label from 0 to {len(names) - 1}, by class_names"
        )
    return str(names[int(number)])
