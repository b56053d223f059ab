"""Image files to what a variant's weights were trained on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cait_tf.errors import CaiTError
from cait_tf.places import expanded
from cait_tf.variants import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import PIL.Image

_FAR = 8  # times the part's height or width: of a larger image only the part is made


def load_image(path: str | Path, size: tuple[int, int], crop_pct: float = 1.0) -> np.ndarray:
    """The part of an image file that a model sees: ``(h, w, 3)`` uint8.

    Resized (bicubic, antialiased) until it covers ``size / crop_pct``, then cut at the centre: for a
    square size torchvision's Resize and CenterCrop. Turned upright as its EXIF data says.

    Raises:
        CaiTError: there is no such file, or it is no image that PIL reads.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(expanded("image", path)) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits, which PIL's own conversion cuts off at 255
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
    covered = math.floor(height / crop_pct), math.floor(width / crop_pct)
    scale = max(covered[0] / image.height, covered[1] / image.width)
    # The side that decides is exact, the other one is cut to whole pixels as torchvision does.
    resized = (
        max(covered[1], int(image.width * scale)),
        max(covered[0], int(image.height * scale)),
    )
    left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
    if max(resized[0] / width, resized[1] / height) > _FAR:
        return _part(image, resized, (left, top), size)
    image = image.resize(resized, Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + width, top + height)))


def _part(
    image: PIL.Image.Image, resized: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """The same part without the rest of the resized image, which is gigabytes of a strip of pixels.

    Pixels may differ by a grey level from those of the whole: PIL rounds the edges of a box.
    """
    from PIL import Image

    begins, boxes = [], []
    for length, new, first, count in zip(image.size, resized, corner, size[::-1], strict=True):
        step = length / new
        margin = math.ceil(3 * max(1.0, step))  # what a kernel of radius 2 looks at, and more
        begin = max(0, math.floor(first * step) - margin)
        end = min(length, math.ceil((first + count) * step) + margin)
        begins.append((begin, end))
        # Counted from the part's own edge, as PIL has 24 bits for it.
        boxes.append((first * step - begin, min((first + count) * step - begin, end - begin)))
    (x0, x1), (y0, y1) = begins
    (left, right), (top, bottom) = boxes
    part = image.crop((x0, y0, x1, y1))
    box = (left, top, right, bottom)
    return np.asarray(part.resize(size[::-1], Image.Resampling.BICUBIC, box=box))


def normalise(images: np.ndarray) -> np.ndarray:
    """uint8 ``(…, 3)`` to float32 on the scale of the published weights."""
    mean, std = np.array(IMAGENET_MEAN, "float32"), np.array(IMAGENET_STD, "float32")
    return (np.asarray(images, "float32") / 255 - mean) / std
