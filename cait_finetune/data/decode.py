"""Decode image files in TensorFlow's graph, so that the exported model decodes them identically."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from cait_finetune.data.bmp import decode_bmp
from cait_finetune.data.branch import branch
from cait_finetune.data.gif import decode_gif
from cait_finetune.data.refusal import refused_unless
from cait_finetune.data.resize import needed, split

#: File formats that `decode` reads, for messages.
FORMATS = "JPEG, PNG, GIF, WebP, BMP"

#: Top, left, height and width in pixels, possibly fractional.
Box = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]

_DCT = "INTEGER_ACCURATE"  # as in PIL; TensorFlow's default gives slightly different pixels
_ADOBE = b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\0"  # Adobe's segment of a CMYK file
_HEAD = 4096  # bytes to search for the EXIF block and its first directory
_ORIENTATION = 0x0112  # the tag's number
_ENTRIES, _ENTRY = 64, 12  # directory entries to read, and bytes per entry
_PADDING = bytes(16)  # substr refuses positions behind the end
_CHUNK_SIZE = 4  # bytes of a chunk's size, which WebP has behind the chunk's name
# A window that is decoded alone differs from the whole JPEG in its two outermost pixels, because
# the decoder interpolates the chroma.
_SEAM = 2


def decode(data: tf.Tensor, upright: bool = True) -> tf.Tensor:
    """Decode the bytes of a file to ``(h, w, 3)`` uint8.

    Grey becomes RGB, transparency is dropped, and 16 bits become 8. A GIF gives its first picture.

    Args:
        data: bytes of the file, () string.
        upright: turn the image as its EXIF orientation states, like PIL's ``exif_transpose``.
            torchvision and timm ignore the orientation.

    Raises:
        tf.errors.InvalidArgumentError: the format is not supported, or the file is incomplete.
    """
    data = tf.convert_to_tensor(data)  # an eager caller may pass bytes
    kinds = [
        tf.io.is_jpeg(data),
        tf.equal(tf.strings.substr(data, 0, 2), b"BM"),
        tf.equal(tf.strings.substr(data, 0, 3), b"GIF"),
        tf.equal(tf.strings.substr(data, 8, 4), b"WEBP"),
        True,
    ]
    image = branch(
        tf.argmax(tf.stack(kinds), output_type=tf.int32),
        [
            _decode_jpeg,
            decode_bmp,
            decode_gif,
            _decode_webp,
            lambda data: tf.io.decode_image(data, channels=3, expand_animations=False),
        ],
        data,
    )
    image.set_shape((None, None, 3))
    if upright:
        image = upright_image(image, data)
        image.set_shape((None, None, 3))
    return image


def upright_image(image: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
    """Turn a decoded image ``(h, w, C)`` as the EXIF orientation in its file's bytes states."""
    # When an operation fails, TensorFlow cancels those that run beside it, and sometimes raises
    # CancelledError in place of the error. Nothing may therefore run beside the decoder.
    with tf.control_dependencies([image]):
        orientation = exif_orientation(data)
    wanted = tf.cast(orientation > 1, tf.int32)
    return branch(wanted, [lambda image, _: image, turned], image, orientation)


def decode_part(
    data: tf.Tensor,
    choose: Callable[..., Box],
    shape: tuple[int, int],
    upright: bool = True,
    given: Sequence[tf.Tensor] = (),
) -> tuple[tf.Tensor, Box]:
    """Decode the pixels that are needed to resize a box of the image to `shape`.

    For a JPEG that need not be turned, only these pixels are decoded. A small box then saves most
    of the work. Other files are decoded whole. The resized box is the same in both cases, bit for
    bit.

    Args:
        data: bytes of the file, () string.
        choose: function from the image's height and width, and the tensors in `given`, to the box.
            It must not use other tensors.
        shape: height and width of the resized box, in pixels.
        upright: as in `decode`.
        given: further arguments of `choose`.

    Returns:
        ``(h, w, 3)`` uint8, and the box in the coordinates of these pixels.
    """

    def part(data: tf.Tensor, *given: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size = tf.io.extract_jpeg_shape(data)[:2]  # (h, w)
        top, left, *lengths = choose(*tf.unstack(size), *given)
        first, count = needed(*split((top, left, *lengths)), size, shape, _SEAM)
        window = tf.concat([first, count], 0)
        image = _decode_jpeg(data, window)
        above, before = tf.unstack(tf.cast(first, tf.float32))
        return image, top - above, left - before, *lengths

    def whole(data: tf.Tensor, *given: tf.Tensor) -> tuple[tf.Tensor, ...]:
        image = decode(data, upright)
        return image, *choose(*tf.unstack(tf.shape(image)[:2]), *given)

    straight = tf.io.is_jpeg(data)
    if upright:
        straight &= exif_orientation(data) == 1
    image, *box = branch(tf.cast(straight, tf.int32), [whole, part], data, *given)
    image.set_shape((None, None, 3))
    return image, tuple(box)


def turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn ``(h, w, C)`` upright, from an EXIF orientation of 1 to 8."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)

    def mirrored(image: tf.Tensor, axis: int, when: list[int]) -> tf.Tensor:
        wanted = tf.reduce_any(orientation == tf.constant(when))
        return tf.cond(wanted, lambda: tf.reverse(image, [axis]), lambda: image)

    return mirrored(mirrored(image, 1, [2, 3, 6, 7]), 0, [3, 4, 7, 8])


def exif_orientation(data: tf.Tensor) -> tf.Tensor:
    """Return the EXIF orientation of a JPEG, PNG or WebP, () int32 from 1 to 8; 1 without one."""
    head = tf.strings.join([tf.strings.substr(data, 0, 12), _PADDING])
    kinds = [
        tf.equal(tf.strings.substr(head, 0, 2), b"\xff\xd8"),
        tf.equal(tf.strings.substr(head, 0, 4), b"\x89PNG"),
        tf.equal(tf.strings.substr(head, 8, 4), b"WEBP"),
        True,
    ]
    block = branch(
        tf.argmax(tf.stack(kinds), output_type=tf.int32),
        [
            lambda data: _after(b"Exif\0\0", tf.strings.substr(data, 0, _HEAD)),
            lambda data: _after(b"eXIf", data),  # a chunk before or behind the pixels
            lambda data: _after(b"EXIF", data, _CHUNK_SIZE),  # a chunk behind the pixels
            lambda data: tf.constant(b""),
        ],
        data,
    )
    return branch(
        tf.cast(tf.strings.length(block) > 0, tf.int32),
        [lambda block: tf.constant(1), _orientation_of_tiff],
        block,
    )


def _after(mark: bytes, data: tf.Tensor, skipped: int = 0) -> tf.Tensor:
    """Return the TIFF header and first directory behind a mark, () string; empty without a mark."""
    # StringSplitV2 finds the mark in one operation; comparing bytes takes many, and is slower.
    parts = tf.raw_ops.StringSplitV2(input=data[None], sep=mark, maxsplit=1).values
    behind = tf.strings.substr(tf.concat([parts, [b""]], 0)[1], 0, _HEAD - len(_PADDING))
    block = tf.strings.substr(tf.strings.join([behind, _PADDING]), skipped, _HEAD)
    jpegs = tf.equal(tf.strings.substr(block, 0, 6), b"Exif\0\0")  # some WebP files have it twice
    block = tf.where(jpegs, tf.strings.substr(block, 6, _HEAD), block)
    # Compressed pixels can contain the mark by chance.
    known = tf.reduce_any(tf.equal(tf.strings.substr(block, 0, 4), [b"II*\0", b"MM\0*"]))
    return tf.where(known, block, b"")


def _orientation_of_tiff(data: tf.Tensor) -> tf.Tensor:
    """Return the orientation in an EXIF block's first directory, () int32; 1 if there is none.

    The block begins with a TIFF header: the byte order, then the directory's offset.
    """
    raw = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)  # (n,)
    size = tf.shape(raw)[0]
    raw = tf.pad(raw, [[0, _HEAD - size]])  # (HEAD,)
    little = raw[0] == ord("I")

    def number(at: tf.Tensor, size: int) -> tf.Tensor:
        """Return the unsigned integers of `size` bytes at positions `at` of any shape."""
        places = at[..., None] + tf.range(size)  # (..., size)
        values = tf.gather(raw, tf.clip_by_value(places, 0, _HEAD - 1))
        powers = tf.constant([256**power for power in range(size)], tf.int32)
        return tf.reduce_sum(values * tf.where(little, powers, powers[::-1]), axis=-1)

    # Read three of the four bytes: valid offsets are below 16 MB, and four bytes overflow int32.
    directory = number(tf.where(little, 4, 5), 3)
    entries = directory + 2 + _ENTRY * tf.range(_ENTRIES)  # (ENTRIES,)
    known = tf.range(_ENTRIES) < number(directory, 2)
    known &= entries + _ENTRY <= size
    values = number(entries + 8, 2)
    ours = known & (number(entries, 2) == _ORIENTATION) & (values >= 1) & (values <= 8)
    return tf.reduce_max(tf.where(ours, values, 1))


def _decode_jpeg(data: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
    """Decode a JPEG, or `window` of it (top, left, height and width).

    PIL reads the inks of every CMYK file as inverted; TensorFlow does so only after Adobe's mark.
    This function inserts the mark where it is missing.
    """

    def marked(data: tf.Tensor) -> tf.Tensor:
        has = tf.size(tf.strings.split(data[None], _ADOBE[:9], maxsplit=1).values) > 1
        mark = tf.where(has, b"", _ADOBE)
        return tf.strings.join([b"\xff\xd8", mark, tf.strings.substr(data, 2, 2**30)])

    inks = tf.equal(tf.io.extract_jpeg_shape(data)[2], 4)
    data = branch(tf.cast(inks, tf.int32), [tf.identity, marked], data)
    if window is None:
        return tf.io.decode_jpeg(data, channels=3, dct_method=_DCT)
    return tf.io.decode_and_crop_jpeg(data, window, channels=3, dct_method=_DCT)


def _decode_webp(data: tf.Tensor) -> tf.Tensor:
    """Decode a WebP file.

    TensorFlow must be given the number of channels. An animated file can crash the process.
    """
    head = tf.io.decode_raw(tf.strings.substr(data, 0, 25), tf.uint8)  # (25,)
    kind = tf.strings.substr(data, 12, 4)
    extended, lossless = tf.equal(kind, b"VP8X"), tf.equal(kind, b"VP8L")
    animated = extended & (tf.bitwise.bitwise_and(head[20], 0x02) > 0)
    flags = tf.where(extended, head[20], tf.where(lossless, head[24], tf.constant(0, tf.uint8)))
    transparent = tf.bitwise.bitwise_and(flags, 0x10) > 0
    data = refused_unless(~animated, "an animated WebP", data)

    def decoded(channels: int) -> tf.Tensor:
        return tf.io.decode_image(data, channels=channels, expand_animations=False)[..., :3]

    return tf.cond(transparent, lambda: decoded(4), lambda: decoded(3))
