"""Decode images of bands: any number of channels but three, as float32.

Decoded values, `preprocessing.mean` and `preprocessing.std` have the same unit: 8-bit levels are
divided by 255, 16-bit levels by 65535, and floating-point values stay as they are. PNG, JPEG,
NPY and the tensors of TFDS are decoded in TensorFlow's graph, so that an exported SavedModel decodes them
identically. Sources convert TIFF to NPY when they read a file (`data.tiff`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from cait_finetune.data.branch import branch
from cait_finetune.data.decode import upright_image
from cait_finetune.data.refusal import refused_unless

#: Channels of a photograph, which `data.decode` decodes to 8-bit levels.
RGB = 3
#: File formats that `decode_bands` reads, and types of numbers, for messages.
FORMATS = "PNG, JPEG, NPY, TIFF"
TYPE_NAMES = "uint8, uint16, float16, float32 or float64"

_NPY = b"\x93NUMPY"
_TENSOR = b"\x93TENSOR"  # our mark before a serialised tensor
_SHORT = "an incomplete NPY"
_REST = 2**30  # more bytes than a file has
#: NumPy's names of the types that an NPY file may have, and TensorFlow's types.
_TYPES = {
    "|u1": tf.uint8,
    "<u2": tf.uint16,
    "<f2": tf.float16,
    "<f4": tf.float32,
    "<f8": tf.float64,
}
#: Other types, which have no obvious unit or another byte order, and their names for messages.
_OTHER_TYPES = {
    "|b1": "bool",
    "|i1": "int8",
    "<i2": "int16",
    "<i4": "int32",
    "<i8": "int64",
    "<u4": "uint32",
    "<u8": "uint64",
    ">u2": "big-endian uint16",
    ">i2": "big-endian int16",
    ">f4": "big-endian float32",
    ">f8": "big-endian float64",
}
#: A refusal of `decode_bands`: the number of channels that a file has, and the number expected.
_CHANNELS = re.compile(r"(\d+) channels?, expected (\d+)")


def decode_bands(data: tf.Tensor, channels: int, upright: bool = True) -> tf.Tensor:
    """Decode the bytes of a file to ``(h, w, channels)`` float32.

    Args:
        data: bytes of the file, () string.
        channels: the number of channels that the file must have.
        upright: as in `data.decode.decode`.

    Raises:
        tf.errors.InvalidArgumentError: the file has another number of channels, a value that is not
            finite, or a format that is not supported; or the file is incomplete.
    """
    data = tf.convert_to_tensor(data)  # an eager caller may pass bytes
    image = _decoded(data)
    found = tf.shape(image)[2]
    words = tf.where(tf.equal(found, 1), " channel", " channels")
    reason = tf.strings.join([tf.strings.as_string(found), words, f", expected {channels}"])
    image = refused_unless(tf.equal(found, channels), reason, image)
    image = refused_unless(tf.reduce_all(tf.math.is_finite(image)), "NaN or infinity", image)
    if upright:
        image = upright_image(image, data)
    return tf.ensure_shape(image, (None, None, channels))


def count_channels(data: tf.Tensor) -> tf.Tensor:
    """Return the number of channels of a file that can be decoded, () int32."""
    return tf.shape(_decoded(tf.convert_to_tensor(data)))[2]


def refused_channels(reason: str) -> tuple[int, int] | None:
    """Return the channels of a refused file, and the number expected. `None`: another reason."""
    found = _CHANNELS.fullmatch(reason)
    return (int(found[1]), int(found[2])) if found else None


def in_units(values: tf.Tensor) -> tf.Tensor:
    """Return the values as float32 in the unit of this module.

    Args:
        values: uint8 or uint16 levels, or floating-point values, of any shape.
    """
    most = {tf.uint8: 255.0, tf.uint16: 65535.0}.get(values.dtype)
    values = tf.cast(values, tf.float32)
    return values if most is None else values / most


def tensor_bytes(values: tf.Tensor) -> tf.Tensor:
    """Return the tensor of a TFDS feature as bytes, () string, which `decode_bands` reads.

    Args:
        values: ``(h, w)`` or ``(h, w, c)``, as for `in_units`.
    """
    values = in_units(values)
    values = values[..., None] if values.shape.rank == 2 else values
    return tf.strings.join([_TENSOR, tf.io.serialize_tensor(values)])


def is_readable(kind: np.dtype) -> bool:
    """Return whether `decode_bands` reads an NPY of this type of numbers, in any byte order."""
    return kind.newbyteorder("<").str in _TYPES


def npy_bytes(values: np.ndarray) -> bytes:
    """Return an array as NPY bytes that `decode_bands` reads: little-endian and in C order."""
    file = io.BytesIO()
    kind = values.dtype.newbyteorder("<")
    np.save(file, np.ascontiguousarray(values, kind), allow_pickle=False)
    return file.getvalue()


def _decoded(data: tf.Tensor) -> tf.Tensor:
    head = tf.strings.substr(tf.strings.join([data, bytes(25)]), 0, 25)  # padded
    png = tf.equal(tf.strings.substr(head, 0, 4), b"\x89PNG")
    deep = tf.equal(tf.strings.substr(head, 24, 1), b"\x10")  # bits of a channel
    kinds = [
        png & ~deep,
        png & deep,
        tf.io.is_jpeg(data),
        tf.equal(tf.strings.substr(head, 0, len(_NPY)), _NPY),
        tf.equal(tf.strings.substr(head, 0, len(_TENSOR)), _TENSOR),
        True,
    ]
    known = tf.reduce_any(tf.stack(kinds[:-1]))
    data = refused_unless(known, f"no {FORMATS}", data)
    image = branch(
        tf.argmax(tf.stack(kinds), output_type=tf.int32),
        [_png, _deep_png, _jpeg, _npy, _tensor, _tensor],
        data,
    )
    return tf.ensure_shape(image, (None, None, None))


def _png(data: tf.Tensor) -> tf.Tensor:
    return in_units(tf.io.decode_png(data, dtype=tf.uint8))


def _deep_png(data: tf.Tensor) -> tf.Tensor:
    return in_units(tf.io.decode_png(data, dtype=tf.uint16))


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    return in_units(tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE"))


def _tensor(data: tf.Tensor) -> tf.Tensor:
    return tf.io.parse_tensor(tf.strings.substr(data, len(_TENSOR), _REST), tf.float32)


def _npy(data: tf.Tensor) -> tf.Tensor:
    """Decode NumPy's format: a mark, the header's length, the header as Python text, the values.

    Source: the description in ``numpy.lib.format``.
    """
    # A failed operation quotes its input, and Python cannot decode the binary data in the message.
    # Therefore check each position against the size of the file before reading there.
    size = tf.strings.length(data)
    data = refused_unless(size > 12, _SHORT, data)
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, 12), tf.uint8), tf.int32)
    first = tf.equal(head[6], 1)  # later versions have a length of four bytes
    start = tf.where(first, 10, 12)
    length = head[8] + 256 * head[9] + tf.where(first, 0, 65536 * head[10])
    data = refused_unless(size >= start + length, _SHORT, data)
    header = tf.strings.substr(data, start, length)
    body = tf.strings.substr(data, start + length, _REST)

    name = tf.strings.regex_replace(header, r"(?s).*'descr': *'([^']*)'.*", r"\1")
    is_type = tf.equal(name, list(_TYPES))
    names = tf.constant([*_OTHER_TYPES.values(), "other"])
    other = tf.argmax(tf.equal(name, [*_OTHER_TYPES, name]))
    # The reason does not name NPY, because the file may be a TIFF that the source converted.
    reason = tf.strings.join([names[other], " values: convert them to uint16 or float32"])
    body = refused_unless(tf.reduce_any(is_type), reason, body)
    in_c_order = tf.strings.regex_full_match(header, r"(?s).*'fortran_order': *False.*")
    body = refused_unless(in_c_order, "an NPY in Fortran order", body)
    sides = tf.strings.regex_replace(header, r"(?s).*'shape': *\(([^)]*)\).*", r"\1")
    sides = tf.strings.split(tf.strings.regex_replace(sides, " ", "")[None], ",").values
    sides = tf.strings.to_number(tf.boolean_mask(sides, tf.not_equal(sides, "")), tf.int32)
    rank = tf.size(sides)
    body = refused_unless((rank == 2) | (rank == 3), "an NPY without two or three axes", body)
    shape = tf.concat([sides, [1]], 0)[:3]  # (h, w) becomes (h, w, 1)
    itemsizes = tf.constant([kind.size for kind in _TYPES.values()])
    expected = tf.reduce_prod(shape) * tf.reduce_sum(tf.where(is_type, itemsizes, 0))
    body = refused_unless(tf.equal(tf.strings.length(body), expected), _SHORT, body)
    readers = [_raw_reader(kind) for kind in _TYPES.values()]
    values = branch(tf.argmax(is_type, output_type=tf.int32), readers, body)
    return tf.reshape(values, shape)


def _raw_reader(kind: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda body: in_units(tf.io.decode_raw(body, kind))
