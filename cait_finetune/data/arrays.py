"""Write a caller's arrays and datasets to image files, which a resumed run can read again."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cait_finetune.data.array_examples import bands_advice, examples, image_advice
from cait_finetune.data.array_labels import class_order, label_name
from cait_finetune.data.bands import RGB, TYPE_NAMES, is_readable, npy_bytes
from cait_finetune.data.image_files.class_list import some
from cait_finetune.data.image_files.listing import OUTPUT_MARK
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)

TABLE = "images.csv"


class Written(NamedTuple):
    """The caller's images, as files.

    Attributes:
        table: path of the table of the images and their labels.
        class_names: names of the classes that have images, in the order of the labels. `None`: the
            labels are texts or numbers without names.
    """

    table: Path
    class_names: list[str] | None


def write_splits(
    splits: Mapping[str, Any],
    class_names: Sequence[str] | None,
    folder: Path,
    upright: bool = True,
    channels: int = RGB,
) -> Written:
    """Write the images of each split to PNG or NPY files, and write a table of their labels.

    The files go to a subfolder of `folder` that is named by a hash of the files. The same images
    are therefore written only once, and are the same data set in every run.

    Args:
        splits: images and labels of ``train``, ``validation`` and ``test``, in one of three forms. A pair
            of arrays: ``(N, h, w, 3)`` or ``(N, h, w)`` uint8, and ``(N,)`` integers or texts. An iterable
            of pairs or of dictionaries with ``image`` and ``label``, such as a ``tf.data.Dataset`` or
            a data set of Hugging Face's ``datasets``. PIL images are images too. `None` for
            both ``validation`` and ``test``: the run divides ``train``.
        class_names: a list of the names of labels 0, 1, …. Texts as labels must be among the names.
            `None`: the names that the data set states, or the labels themselves.
        folder: folder of all such data sets.
        upright: turn PIL images as their EXIF orientation states.
        channels: `model.in_channels`, c. If c is not 3, an image is ``(h, w, c)`` of a type that
            `data.bands` reads, and is written to an NPY file. If c is 1, it can also be ``(h, w)``.

    Returns:
        The table, and the names of the classes in the order of the labels.

    Raises:
        UserError: a split has no images or never ends, an image has another type or shape, a label has no
            name, a name has spaces around it, `class_names` has no order, or `class_names` contradicts
            the data set's own names.
    """
    given = {split: data for split, data in splits.items() if data is not None}
    names = class_order(given, class_names)
    if len(given) == 2:
        raise bad_value("validation, test", "only one of them", "both or neither",
                        "Give both, or only train=: a tenth of train is then kept for each of them.")  # fmt: skip
    made_now = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with _removed_on_error(made_now), tempfile.TemporaryDirectory(dir=folder) as made:
        root = Path(made)
        (root / OUTPUT_MARK).touch()
        digest, used = hashlib.sha256(), set()
        with open(root / TABLE, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", *(["split"] if len(given) > 1 else [])])
            for split, data in given.items():
                count = 0
                for number, (image, label) in enumerate(
                    examples(split, data, upright, channels == RGB)
                ):
                    rgb = channels == RGB
                    name = f"{split}/{number:07d}.{'png' if rgb else 'npy'}"
                    content = _png(split, image) if rgb else _npy(split, image, channels)
                    row = [
                        name,
                        label_name(split, label, names),
                        *([split] if len(given) > 1 else []),
                    ]
                    used.add(row[1])
                    digest.update(repr(row).encode() + content)
                    path = root / name
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(content)
                    table.writerow(row)
                    count += 1
                if not count:
                    raise bad_value(split, "no images", "one image or more")
        without = [name for name in names or () if name not in used]
        if class_names is not None and without:
            raise bad_value("class_names", f"{', '.join(without)}, without an image", "classes with images",
                            "Leave them out, or give their images.")  # fmt: skip
        place = folder / digest.hexdigest()[:24]
        for path in root.rglob("*"):
            kept = place / path.relative_to(root)
            # A file that was edited since an earlier call is written again.
            if path.is_file() and not (kept.is_file() and kept.read_bytes() == path.read_bytes()):
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept)
    order = None if names is None else [name for name in names if name in used]
    if order and without:
        logger.warning(
            "no image of %s: the model has no column for it, and run.class_names has the order of the "
            "columns", some(without),
        )  # fmt: skip
    elif order is None and used and all(map(str.isdecimal, used)):
        labels = sorted(used, key=int)
        if labels != [str(number) for number in range(len(labels))]:
            logger.warning("the labels are %s: column 0 is label %s", some(labels), labels[0])
    return Written(place / TABLE, order)


@contextlib.contextmanager
def _removed_on_error(folders: Sequence[Path]) -> Iterator[None]:
    """Remove the folders, innermost first, if the block fails and they are empty."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in folders:
                folder.rmdir()
        raise


def _png(split: str, pixels: np.ndarray) -> bytes:
    from PIL import Image

    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)
    if pixels.dtype != np.uint8 or not shaped or not pixels.size:
        raise bad_value(
            split,
            f"images of {pixels.dtype} and shape {pixels.shape}",
            "uint8 grey levels from 0 to 255, of shape (h, w, 3), (h, w, 1) or (h, w)",
            image_advice(pixels),
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _npy(split: str, pixels: np.ndarray, channels: int) -> bytes:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    shaped = pixels.ndim == 3 and pixels.shape[-1] == channels
    if not is_readable(pixels.dtype) or not shaped or not pixels.size:
        raise bad_value(
            split,
            f"images of {pixels.dtype} and shape {pixels.shape}",
            f"{TYPE_NAMES} of shape (h, w, {channels}){' or (h, w)' * (channels == 1)}, as model.in_channels is "
            f"{channels}",
            bands_advice(pixels, channels),
        )
    return npy_bytes(pixels)
