"""Read a caller's images and labels: arrays, batches, or single examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from cait_finetune.data.array_labels import features_of, label_key, label_value
from cait_finetune.data.bands import RGB
from cait_finetune.errors import UserError, bad_value
from cait_tf.errors import CaiTError
from cait_tf.images import is_pil_image, pil_pixels

_IMAGE = ("image", "img", "pixel_values")
_CHANNELS_LAST = "Move the channels to the end: np.moveaxis(images, -3, -1)."
_FROM_BOOLS = "Convert black and white to grey levels: images.astype('uint8') * 255."
_LEVELS = (("uint8", 255), ("uint16", 65535))
_FORMS = "(images, labels), or an iterable of such pairs"


def examples(
    split: str, data: Any, upright: bool, rgb: bool = True
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield the pixels of each image with its label.

    Args:
        split: name of the split, for messages.
        data: one of the forms of `cait_finetune.data.arrays.write_splits`.
        upright: turn PIL images as their EXIF orientation states.
        rgb: convert PIL images to RGB.

    Raises:
        UserError: `data` has another form, never ends, or has an image that is not decoded.
    """
    if isinstance(data, tuple) and len(data) == 2:
        yield from _pairs(split, *data, upright, rgb)
        return
    if not isinstance(data, Iterable) or isinstance(data, Mapping | str | bytes):
        folder = isinstance(data, str | Path)
        hint = 'For a folder write finetune("dataset=folder", "dataset.data_dir=…").'
        raise bad_value(split, type(data).__name__, _FORMS, hint if folder else "")
    if _is_endless(data):
        raise bad_value(
            split, "an endless tf.data.Dataset", "one that ends",
            "Leave .repeat() out. Each epoch reads the images again.",
        )  # fmt: skip
    key = label_key(features_of(data))
    for element in data:
        if isinstance(element, Mapping):
            element = _of_dictionary(split, element, key)
        if not isinstance(element, tuple) or len(element) != 2:
            raise bad_value(split, f"an example of type {type(element).__name__}", "(images, labels), or an "
                            "iterable of (image, label)")  # fmt: skip
        image, label = element
        if _is_list_of_images(image):
            yield from _pairs(split, image, label, upright, rgb)
            continue
        pixels = _pixels(split, image, upright, rgb)
        if pixels.ndim == 4:
            yield from _pairs(split, pixels, label, upright, rgb)
        else:
            yield pixels, label_value(split, label)


def image_advice(pixels: np.ndarray) -> str:
    """Return a line that says how to convert an image to ``(h, w, 3)`` uint8. Empty: no advice.

    For an image with neither 1 nor 3 channels, the line names `model.in_channels`, unless the channels
    come first.
    """
    if not pixels.size:
        return "Leave empty images out."
    kind, shape = pixels.dtype, pixels.shape
    if not shape:
        return "The images look like labels: give (images, labels) in this order."
    channels = shape[-1] if len(shape) == 3 else 1
    if channels not in (1, RGB) and _is_channels_first(shape):
        return _CHANNELS_LAST
    if channels == 4 and kind == np.uint8:
        return "Leave out the transparency: images[..., :3]; or set model.in_channels=4 for four bands."
    if channels not in (1, RGB):
        return f"Set model.in_channels={channels}."
    grey = channels == 1 and len(shape) in (2, 3)
    as_bands = "; or set model.in_channels=1 to keep the values" if grey else ""
    if np.issubdtype(kind, np.floating):
        if pixels.min() >= 0 and pixels.max() <= 1:
            return (
                "Multiply values from 0 to 1 by 255 and round them: "
                f"(255 * images).round().astype('uint8'){as_bands}."
            )
        if pixels.min() >= 0 and pixels.max() <= 255:
            return f"Round values from 0 to 255: images.round().astype('uint8'){as_bands}."
        if pixels.min() < 0:
            return f"Give the images as they were before normalisation{as_bands}."
        return "Set model.in_channels=1 to keep the values." if grey else ""
    if kind.kind == "b":
        return _FROM_BOOLS
    if kind != np.uint8 and np.issubdtype(kind, np.integer):
        if pixels.min() >= 0 and pixels.max() <= 255:
            return "Convert the levels: images.astype('uint8')."
        if kind == np.uint16:
            return f"Divide 16-bit levels by 257: (images / 257).round().astype('uint8'){as_bands}."
    return ""


def bands_advice(pixels: np.ndarray, channels: int) -> str:
    """Return a line that says how to convert an image for `model.in_channels`. Empty: no advice.

    Args:
        channels: `model.in_channels`, which is not 3.
    """
    if not pixels.size:
        return "Leave empty images out."
    kind, shape = pixels.dtype, pixels.shape
    if not shape:
        return "The images look like labels: give (images, labels) in this order."
    own = shape[-1] if len(shape) == 3 else 1
    if own != channels and len(shape) == 3 and (shape[0] == channels or _is_channels_first(shape)):
        return _CHANNELS_LAST
    if own != channels and len(shape) in (2, 3):
        return f"Set model.in_channels={own}." if own != RGB else "Leave model.in_channels out."
    if kind.kind == "b":
        return _FROM_BOOLS
    if np.issubdtype(kind, np.integer):
        levels = next(
            (name for name, most in _LEVELS if 0 <= pixels.min() <= pixels.max() <= most), ""
        )
        if levels:
            return f"Convert the levels: images.astype('{levels}')."
    return "Convert the numbers: images.astype('float32')." if kind.kind in "iufV" else ""


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether a shape seems to have the channels before height and width, which are larger."""
    return len(shape) == 3 and (shape[0] in (1, RGB) or 2 * shape[0] <= min(shape[1:]))


def _pairs(
    split: str, images: Any, labels: Any, upright: bool, rgb: bool
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yield each image of a batch or an array with its label."""
    images, labels = _sequence(images), _sequence(labels)
    if images is None or labels is None:
        raise bad_value(
            split, "a pair without several images and labels", _FORMS,
            "Put a single example into a list: [(image, label)].",
        )  # fmt: skip
    if len(images) != len(labels):
        raise bad_value(
            split, f"{len(images)} images and {len(labels)} labels", "one label per image"
        )
    for image, label in zip(images, labels, strict=True):
        yield _pixels(split, image, upright, rgb), label_value(split, label)


def _sequence(values: Any) -> Any:
    """Return values that have a length and an order. `None`: a set, or a single label."""
    if isinstance(values, Mapping | Set | str | bytes):
        return None
    for read in ("numpy", "to_numpy"):  # a tensor; a column or table of pandas
        if hasattr(values, read):
            values = getattr(values, read)()
            break
    try:
        len(values)
    except TypeError:
        return None
    return None if isinstance(values, str | bytes) else values


def _is_endless(data: Any) -> bool:
    """Whether `data` is a ``tf.data.Dataset`` that is known to repeat without an end."""
    return hasattr(data, "element_spec") and int(data.cardinality()) == -1


def _of_dictionary(split: str, element: Mapping[str, Any], key: str | None) -> tuple[Any, Any]:
    """Return image and label.

    Args:
        key: the label column that gave the class names. `None`: the first column with a usual name.
    """
    image = next((element[key] for key in _IMAGE if key in element), None)
    key = key or label_key(element)
    if image is None or key not in element:
        raise bad_value(split, f"examples with {', '.join(map(str, element))}",
                        f"image and {key or 'label'} in each", "Rename the columns.")  # fmt: skip
    return image, element[key]


def _is_list_of_images(image: Any) -> bool:
    """Whether a list holds images, not the rows of one image."""
    if not isinstance(image, list | tuple) or not image:
        return False
    return is_pil_image(image[0]) or getattr(image[0], "ndim", 0) > 1


def _pixels(split: str, image: Any, upright: bool, rgb: bool) -> np.ndarray:
    """Return the pixels of an array, a tensor or a PIL image."""
    if is_pil_image(image):
        try:
            return pil_pixels(image, upright, rgb)
        except CaiTError as error:
            raise UserError(f"{split}: {str(error).removeprefix('image: ')}") from error
    image = image.numpy() if hasattr(image, "numpy") else image
    try:
        pixels = np.asarray(image)
    except ValueError:  # rows of different lengths
        raise bad_value(split, f"an image of type {type(image).__name__}", "arrays") from None
    if pixels.dtype.kind in "OSU":
        first = pixels.ravel()[0] if pixels.size else image
        if isinstance(first, str | bytes | PurePath | Mapping):
            raise _not_decoded(split, first)
    return pixels


def _not_decoded(split: str, image: Any) -> UserError:
    """Return the error for an image that is a path, or the undecoded content of a file."""
    try:
        path = image.decode() if isinstance(image, bytes) else image
    except UnicodeDecodeError:
        path = None
    if path is None or isinstance(path, Mapping) or "\0" in str(path):
        return bad_value(
            split, "the content of an image file", "decoded images",
            "Decode the images: tf.io.decode_image(data, channels=3, expand_animations=False).",
        )  # fmt: skip
    return bad_value(
        split, f"the text {str(path)!r} as an image", "decoded images", "Open the files: PIL.Image.open(path)."
    )  # fmt: skip
