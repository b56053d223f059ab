"""Image files to what a variant's weights were trained on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from cait_tf.errors import CaiTError
from cait_tf.variants import IMAGENET_MEAN, IMAGENET_STD


def load_image(path: str | Path, size: tuple[int, int], crop_pct: float = 1.0) -> np.ndarray:
    """The part of an image file that a model sees: ``(h, w, 3)`` uint8.

    Resized (bicubic, antialiased) until it covers ``size / crop_pct``, then cut at the centre: for a
    square size torchvision's Resize and CenterCrop. Turned upright as its EXIF data says.

    Raises:
        CaiTError: there is no such file, or it is no image that PIL reads.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(Path(path).expanduser()) as file:
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
    image = image.resize(resized, Image.Resampling.BICUBIC)
    left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
    return np.asarray(image.crop((left, top, left + width, top + height)))


def normalise(images: np.ndarray) -> np.ndarray:
    """uint8 ``(…, 3)`` to float32 on the scale of the published weights."""
    mean, std = np.array(IMAGENET_MEAN, "float32"), np.array(IMAGENET_STD, "float32")
    return (np.asarray(images, "float32") / 255 - mean) / std
