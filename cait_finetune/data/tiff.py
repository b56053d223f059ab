"""Convert TIFF files of any number of bands to NPY, which TensorFlow's graph decodes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import tensorflow as tf

from cait_finetune.errors import bad_value

ENDINGS = (".tif", ".tiff")
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, in both byte orders
_MARK = 4  # bytes


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


def to_npy(data: bytes) -> bytes:
    """Return a TIFF as NPY of shape (h, w) or (h, w, c), little-endian.

    Bands in planes or pages become channels.

    Raises:
        ValueError: the file is damaged, or has more than three axes.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            values, axes = series.asarray(), series.axes
    except Exception as error:  # the library raises many unrelated types
        raise ValueError(f"a TIFF that tifffile cannot read ({error})") from error
    if values.ndim not in (2, 3) or "Y" not in axes or "X" not in axes:
        raise ValueError(f"a TIFF with the axes {axes}, expected one image")
    order = [axes.index("Y"), axes.index("X")]
    order += [axis for axis in range(values.ndim) if axis not in order]
    values = np.ascontiguousarray(values.transpose(order))
    file = io.BytesIO()
    np.save(file, values.astype(values.dtype.newbyteorder("<")), allow_pickle=False)
    return file.getvalue()
