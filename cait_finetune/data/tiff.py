"""Convert TIFF files of any number of bands to NPY, which TensorFlow's graph decodes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.bands import TYPE_NAMES, is_readable, npy_bytes
from cait_finetune.errors import bad_value

ENDINGS = (".tif", ".tiff")
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, in both byte orders
_MARK = 4  # bytes
_MIN_IS_WHITE, _PALETTE = 0, 3  # values of the tag PhotometricInterpretation
_ORIENTATION = 274  # the tag's number


def check_reader(paths: Sequence[str], key: str) -> None:
    """Check that the reader of TIFF is installed if one of the files is a TIFF.

    Args:
        key: the key that the message names.

    Raises:
        UserError: it is not installed.
    """
    tiffs = [path for path in paths if path.lower().endswith(ENDINGS)]
    if tiffs and find_spec("tifffile") is None:
        raise bad_value(
            key,
            f"{tiffs[0]}, which needs tifffile",
            "it installed",
            "pip install 'cait-finetune[tiff]'",
        )


def is_tiff(data: bytes) -> bool:
    """Return whether these are the first bytes of a TIFF."""
    return data[:_MARK] in _MARKS


def without_tiff(data: tf.Tensor) -> tf.Tensor:
    """Return the bytes of a file, () string, as NPY if it is a TIFF, else unchanged. For tf.data."""
    found = tf.reduce_any(tf.equal(tf.strings.substr(data, 0, _MARK), list(_MARKS)))

    def convert(content: bytes | np.ndarray) -> bytes:  # outside of a graph it is an array
        return to_npy(content.item() if isinstance(content, np.ndarray) else content)

    def converted() -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(convert, [data], tf.string), ())

    return tf.cond(found, converted, lambda: data)


def fault(data: bytes) -> str:
    """Return why `to_npy` cannot read a TIFF, from its tags alone. Empty: no fault found."""
    try:
        with _opened(data) as images:
            _check_codecs(images[0].keyframe)
    except ValueError as error:
        return str(error)
    return ""


def to_npy(data: bytes) -> bytes:
    """Return a TIFF as NPY of shape (h, w) or (h, w, c), little-endian.

    Bands in planes or pages become channels. Reduced copies and masks are left out. Levels that the file
    counts from white to black are inverted, and black and white become 0 and 255.

    Raises:
        ValueError: the file is damaged, or is not one upright image of numbers that `data.bands` reads.
    """
    with _opened(data) as images:
        try:
            values = np.stack([one.asarray() for one in images])
        except Exception as error:  # the library raises many unrelated types
            raise _unreadable(error) from error
        page, axes = images[0].keyframe, "Q" + images[0].axes
    if len(images) == 1:
        values, axes = values[0], axes[1:]
    if page.photometric == _MIN_IS_WHITE:
        values = ~values
    if values.dtype == bool:
        values = values.astype("uint8") * np.uint8(255)
    order = [axes.index("Y"), axes.index("X")]
    order += [axis for axis in range(values.ndim) if axis not in order]
    return npy_bytes(values.transpose(order))


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[list[Any]]:
    """Open a TIFF, check its tags, and yield its series of pages, which together are one image."""
    import tifffile

    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tifffile.TiffFile(io.BytesIO(data)))
            images = [
                one for one in file.series if not (one.keyframe.is_reduced or one.keyframe.is_mask)
            ]
        except Exception as error:  # the library raises many unrelated types
            raise _unreadable(error) from error
        _check_tags(images)
        yield images


def _check_tags(images: Sequence[Any]) -> None:
    """Raise ValueError if the series of pages are not one upright image of numbers."""
    kinds = list(dict.fromkeys(f"{one.dtype} {one.shape}" for one in images))
    if len(kinds) != 1:
        raise ValueError(f"a TIFF with the images {', '.join(kinds) or 'none'}, expected one size")
    first = images[0]
    axes = "Q" * (len(images) > 1) + first.axes
    if len(axes) not in (2, 3) or "Y" not in axes or "X" not in axes:
        raise ValueError(f"a TIFF with the axes {axes}, expected one image")
    for page in (one.keyframe for one in images):
        if page.photometric == _PALETTE:
            raise ValueError("a TIFF with a palette, expected values: convert it to grey or RGB")
        turned = page.tags.valueof(_ORIENTATION, 1)
        if turned != 1:
            raise ValueError(f"a TIFF with the orientation {turned}, expected 1: turn its pixels")
        if page.photometric != first.keyframe.photometric:
            raise ValueError("a TIFF with pages of several colours, expected one image")
    bits, black_and_white = first.keyframe.bitspersample, first.dtype == bool
    whole = bits == 8 * first.dtype.itemsize
    if not black_and_white and not (whole and is_readable(first.dtype)):
        kind = f"{first.dtype}" if whole else f"{bits} bits a value"
        raise ValueError(f"a TIFF of {kind}, expected {TYPE_NAMES}")
    if first.keyframe.photometric == _MIN_IS_WHITE and first.dtype.kind == "f":
        raise ValueError(f"a TIFF of {first.dtype} from white to black, expected black to white")


def _check_codecs(page: Any) -> None:
    """Raise ValueError if tifffile lacks the codec that decompresses the pixels."""
    from tifffile import TIFF

    try:
        for codecs, number in (
            (TIFF.DECOMPRESSORS, page.compression),
            (TIFF.UNPREDICTORS, page.predictor),
        ):
            if number != 1:  # 1 is no compression or no predictor
                codecs[number]
    except KeyError as error:
        why = str(error.args[0])
        hint = ": pip install 'cait-finetune[tiff]'" if "imagecodecs" in why else ""
        raise ValueError(f"a TIFF that tifffile cannot read ({why}{hint})") from error


def _unreadable(error: Exception) -> ValueError:
    return ValueError(f"a TIFF that tifffile cannot read ({error})")
