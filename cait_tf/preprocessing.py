"""Turn decoded pixels into model input with `keras.ops`: on every backend, and in exported models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from cait_tf.arguments import image_shape
from cait_tf.errors import CaiTError
from cait_tf.geometry import centre_crop, padded_box
from cait_tf.images import is_pil_image, pil_pixels
from cait_tf.keras_ops import ops
from cait_tf.resampling import resampling_matrix, whole_levels
from cait_tf.variants import Variant, get_variant


def preprocess(
    images: Any,
    variant: str | Variant,
    image_size: int | Sequence[int] | None = None,
    crop_pct: float | None = None,
) -> Any:
    """Return a variant's input, equal to the input in evaluation within one grey level.

    Args:
        images: ``(B, h, w, 3)`` uint8 of any size, one image ``(h, w, 3)``, or PIL images as for
            `uint8_images`. Arrays have no EXIF orientation: rotate photographs first. The function
            rotates PIL images.
        variant: the variant or its name.
        image_size: one side or [height, width] of the input, in pixels. `None`: the variant's.
        crop_pct: crop ratio. `None`: the variant's.

    Returns:
        ``(B, H, W, 3)`` float32. B is 1 for one image.

    Raises:
        CaiTError: the variant does not exist, the images are not uint8 or differ in size, or
            `image_size` or `crop_pct` is out of range.
    """
    of = get_variant(variant) if isinstance(variant, str) else variant
    size = of.image_size if image_size is None else image_size
    crop = of.crop_pct if crop_pct is None else crop_pct
    if not 0.1 <= crop <= 1:
        raise CaiTError(
            f"crop_pct: got {crop!r}, expected a share from 0.1 to 1, such as {of.crop_pct}"
        )
    return resize_and_normalise(
        uint8_images(images),
        image_shape(size),
        crop_pct=crop,
        interpolation=of.interpolation,
        mean=of.mean,
        std=of.std,
    )


def uint8_images(images: Any, upright: bool = True) -> Any:
    """Return a batch ``(B, h, w, 3)`` uint8; one image ``(h, w, 3)`` becomes a batch of one.

    Args:
        images: an array, a PIL image, or a list of arrays or PIL images of one size.
        upright: turn PIL images as their EXIF orientation states.

    Raises:
        CaiTError: the images have another type or shape, or differ in size.
    """
    if isinstance(images, list | tuple) and any(_is_image(one) for one in images):
        batches = [uint8_images(one, upright) for one in images]
        sizes = list(dict.fromkeys("x".join(map(str, one.shape[1:3])) for one in batches))
        if len(sizes) > 1:
            raise CaiTError(
                f"images: got sizes {sizes[0]} and {sizes[1]} (height x width), expected one size in a "
                "list; give images of different sizes one by one"
            )
        return ops.concatenate(batches)
    if is_pil_image(images):
        images = pil_pixels(images, upright)
    try:
        images = ops.convert_to_tensor(images)
        kind = keras.backend.standardize_dtype(images.dtype)
    except (TypeError, ValueError) as error:
        raise CaiTError(
            f"images: got {type(images).__name__}, expected an array of uint8 levels, or PIL images"
        ) from error
    shape = tuple(images.shape)
    if kind != "uint8" or len(shape) not in (3, 4) or shape[-1] != 3:
        raise CaiTError(
            f"images: got {kind} of shape {shape}, expected uint8 levels from 0 to 255 of shape "
            "(B, h, w, 3) or (h, w, 3)"
        )
    return images if len(shape) == 4 else images[None]


def float_images(images: Any, channels: int) -> Any:
    """Return a batch ``(B, h, w, channels)`` float32; one image becomes a batch of one.

    Raises:
        CaiTError: the images have another type or shape.
    """
    images = ops.convert_to_tensor(images)
    kind = keras.backend.standardize_dtype(images.dtype)
    shape = tuple(images.shape)
    if kind != "float32" or len(shape) not in (3, 4) or shape[-1] != channels:
        raise CaiTError(
            f"images: got {kind} of shape {shape}, expected float32 of shape (B, h, w, {channels}) or "
            f"(h, w, {channels})\n  Divide 8-bit levels by 255 and 16-bit levels by 65535."
        )
    return images if len(shape) == 4 else images[None]


def _is_image(image: Any) -> bool:
    """Whether an element of a list is an image, not a row of one image."""
    return is_pil_image(image) or len(getattr(image, "shape", ())) > 1


def resize_and_normalise(
    images: Any,
    size: tuple[int, int],
    *,
    crop_pct: float,
    interpolation: str,
    mean: Sequence[float],
    std: Sequence[float],
    resize_mode: str = "shorter_side",
    antialias: bool = True,
) -> Any:
    """Resize and normalise ``(B, h, w, c)`` to ``(B, H, W, c)`` float32.

    Three channels are uint8 levels, which PIL rounds after each step. Any other number of channels are
    float32 values, which PIL resizes in mode F, without rounding.

    Args:
        size: H and W, in pixels.
        resize_mode: as in `ImageClassifier`, like the other arguments.
    """

    def matrix(length: Any, new: int, start: Any, step: Any) -> Any:
        return resampling_matrix(length, new, start, step, interpolation, antialias)

    height, width = ops.shape(images)[1:3]
    rows, columns = _matrices(height, width, size, crop_pct, resize_mode, matrix)  # (H, h), (W, w)
    rgb = len(mean) == 3
    rounded, unit = (whole_levels, 255.0) if rgb else (lambda values: values, 1.0)
    x = ops.cast(ops.transpose(images, (0, 3, 1, 2)), "float32")  # (B, c, h, w)
    x = rounded(ops.matmul(x, ops.transpose(columns)))  # (B, c, h, W)
    x = rounded(ops.matmul(rows, x))  # (B, c, H, W)
    shift, scale = (
        ops.convert_to_tensor([unit * value for value in values], "float32")
        for values in (mean, std)
    )
    return (ops.transpose(x, (0, 2, 3, 1)) - shift) / scale


def _matrices(
    height: Any,
    width: Any,
    size: tuple[int, int],
    crop_pct: float,
    resize_mode: str,
    matrix: Callable[[Any, int, Any, Any], Any],
) -> tuple[Any, Any]:
    """Return the resampling matrices of the rows, (H, h), and of the columns, (W, w).

    Args:
        matrix: returns the matrix for the old and the new length, the start of the crop and the step
            between pixels.
    """
    real = [ops.cast(side, "float32") for side in (height, width)]
    if resize_mode == "pad":
        starts, box = padded_box(real, size, ops.maximum)
        steps = [box[axis] / size[axis] for axis in (0, 1)]
    else:
        scaled, corner = centre_crop((height, width), size, crop_pct, resize_mode, ops.maximum)
        steps = [real[axis] / ops.cast(scaled[axis], "float32") for axis in (0, 1)]
        starts = [ops.cast(corner[axis], "float32") * steps[axis] for axis in (0, 1)]
    rows, columns = (
        matrix(length, size[axis], starts[axis], steps[axis])
        for axis, length in enumerate((height, width))
    )
    return rows, columns
