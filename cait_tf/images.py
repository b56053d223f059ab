"""Load image files as input for the published weights: resize, crop and normalise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from cait_tf.errors import CaiTError
from cait_tf.geometry import centre_crop
from cait_tf.places import expanded
from cait_tf.variants import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import PIL.Image

_FAR = 8  # above this ratio of resized side to crop side, `load_image` resizes only the crop

#: PIL modes that store bits or palette indices, and the mode with the same grey levels or colours.
_UNPACKED = {"1": "L", "P": "RGB", "PA": "RGBA"}


def load_image(path: str | Path, size: tuple[int, int], crop_pct: float = 1.0) -> np.ndarray:
    """Load the resized centre crop of an image file: ``(h, w, 3)`` uint8.

    The function rotates the image by its EXIF orientation. It resizes the image (bicubic,
    antialiased) to the smallest size that covers ``size / crop_pct``, and crops the centre. For a
    square `size` the result is that of torchvision's Resize and CenterCrop.

    Args:
        path: the image file.
        size: height and width of the crop, in pixels.
        crop_pct: crop ratio: the crop's size divided by the covered size.

    Raises:
        CaiTError: the file does not exist, or PIL cannot read it as an image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(expanded("image", path)) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits: PIL's own conversion clips levels at 255
                levels = np.asarray(image, "float64") * (255 / 65535)
                image = Image.fromarray(levels.round().clip(0, 255).astype("uint8"))
            image = image.convert("RGB")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CaiTError(f"image: got {path}, expected an existing image file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CaiTError(
            f"image: got {path}, expected a JPEG, PNG or other image file ({reason})"
        ) from error
    height, width = size
    resized, (top, left) = centre_crop((image.height, image.width), size, crop_pct)
    resized = resized[::-1]  # PIL's order
    if max(resized[0] / width, resized[1] / height) > _FAR:
        return _part(image, resized, (left, top), size)
    image = image.resize(resized, Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + width, top + height)))


def is_pil_image(image: Any) -> TypeGuard[PIL.Image.Image]:
    """Whether the object is an image of PIL."""
    from PIL import Image

    return isinstance(image, Image.Image)


def pil_pixels(image: PIL.Image.Image, upright: bool = True, rgb: bool = True) -> np.ndarray:
    """Return the pixels of a PIL image: ``(h, w, 3)`` uint8, without transparency.

    An image with more than 8 bits keeps its type and has the shape ``(h, w)``.

    Args:
        image: a decoded image, or one that PIL has opened.
        upright: turn the image as its EXIF orientation states.
        rgb: convert the image to RGB. `False`: the image keeps its channels, with black and white as grey
            levels, and the colours of a palette.

    Raises:
        CaiTError: PIL cannot decode the image.
    """
    from PIL import ImageOps

    try:
        if upright:
            image = ImageOps.exif_transpose(image)
        own = image.mode if image.mode[0] in "IF" else "RGB"
        mode = own if rgb else _UNPACKED.get(image.mode, image.mode)
        return np.asarray(image if mode == image.mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise CaiTError(
            f"image: got {image!r}, expected an image that PIL can decode ({error})"
        ) from error


def _part(
    image: PIL.Image.Image, resized: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Return the crop of a resized image without making the whole image.

    For a very long, narrow image, the whole resized image would need gigabytes. Pixels may differ by one grey
    level from a crop of the whole image, because PIL rounds the edges of a box.

    Args:
        resized: width and height of the resized image.
        corner: left and top of the crop, in pixels of the resized image.
        size: height and width of the crop.
    """
    from PIL import Image

    begins, boxes = [], []
    for length, new, first, count in zip(image.size, resized, corner, size[::-1], strict=True):
        step = length / new
        margin = math.ceil(3 * max(1.0, step))  # more than the kernel's radius of 2
        begin = max(0, math.floor(first * step) - margin)
        end = min(length, math.ceil((first + count) * step) + margin)
        begins.append((begin, end))
        # Measure from `begin`: PIL stores the box with 24 bits of precision.
        boxes.append((first * step - begin, min((first + count) * step - begin, end - begin)))
    (x0, x1), (y0, y1) = begins
    (left, right), (top, bottom) = boxes
    part = image.crop((x0, y0, x1, y1))
    height, width = size
    box = (left, top, right, bottom)
    return np.asarray(part.resize((width, height), Image.Resampling.BICUBIC, box=box))


def normalise(images: np.ndarray) -> np.ndarray:
    """Normalise uint8 ``(…, 3)`` to float32 with the mean and std of the published weights."""
    mean, std = np.array(IMAGENET_MEAN, "float32"), np.array(IMAGENET_STD, "float32")
    return (np.asarray(images, "float32") / 255 - mean) / std
