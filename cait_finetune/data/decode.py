"""Bytes of an image file to pixels, in TensorFlow's graph: the exported model reads files alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from cait_finetune.data.bmp import decode_bmp
from cait_finetune.data.branch import branch
from cait_finetune.data.gif import decode_gif
from cait_finetune.data.refusal import refused_unless
from cait_finetune.data.resize import needed, split

#: What can be decoded, in words.
FORMATS = "JPEG, PNG, GIF, WebP, BMP"

#: Top, left, height and width in pixels, which need not be whole.
Box = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]

_DCT = "INTEGER_ACCURATE"  # PIL's; TensorFlow's own is up to 3 grey levels off
_ADOBE = b"\xff\xee\0\x0eAdobe\0d\0\0\0\0\0"  # of four inks, CMYK
_HEAD = 4096  # bytes: where a camera's EXIF block begins, and its first directory is
_ORIENTATION = 0x0112  # the tag's number
_ENTRIES, _ENTRY = 64, 12  # of a directory: as many are looked at, bytes of one
# A part that is decoded alone differs from the whole in its two outermost pixels, where JPEG's
# chroma is interpolated.
_SEAM = 2


def decode(data: tf.Tensor, upright: bool = True) -> tf.Tensor:
    """The bytes of a file to ``(h, w, 3)`` uint8.

    Grey becomes RGB, transparency is dropped, 16 bits become 8; of a GIF it is the first picture.
    With `upright` a JPEG is turned as its EXIF orientation says, like PIL's ``exif_transpose``;
    torchvision and timm leave it lying.

    Raises:
        tf.errors.InvalidArgumentError: it is no image that TensorFlow reads, or not whole.
    """
    data = tf.convert_to_tensor(data)  # bytes of a caller that works eagerly
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
        orientation = exif_orientation(data)
        wanted = tf.cast(orientation > 1, tf.int32)
        image = branch(wanted, [lambda image, _: image, turned], image, orientation)
        image.set_shape((None, None, 3))
    return image


def decode_part(
    data: tf.Tensor,
    choose: Callable[..., Box],
    shape: tuple[int, int],
    upright: bool = True,
    given: Sequence[tf.Tensor] = (),
) -> tuple[tf.Tensor, Box]:
    """As much of the image as it takes to resize a box of it to `shape`.

    Of a JPEG that need not be turned no more is decoded, which spares most of the work for a small
    box; what becomes of the box is the same, bit for bit, as from the whole image.

    Args:
        choose: height and width of the image, and what is `given`, to the box that is wanted. It must
            not use other tensors.

    Returns:
        ``(h, w, 3)`` uint8, and the box in its pixels.
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
    """``(h, w, 3)`` brought upright from an EXIF orientation of 1 to 8."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)

    def mirrored(image: tf.Tensor, axis: int, when: list[int]) -> tf.Tensor:
        wanted = tf.reduce_any(orientation == tf.constant(when))
        return tf.cond(wanted, lambda: tf.reverse(image, [axis]), lambda: image)

    return mirrored(mirrored(image, 1, [2, 3, 6, 7]), 0, [3, 4, 7, 8])


def exif_orientation(data: tf.Tensor) -> tf.Tensor:
    """The orientation that a JPEG's EXIF block states, () int32 from 1 to 8; 1 where it has none."""
    head = tf.strings.substr(data, 0, _HEAD)
    # One operation that looks for the mark; comparing bytes takes twenty, and 4 % of a JPEG's time.
    parts = tf.raw_ops.StringSplitV2(input=head[None], sep=b"Exif\0\0", maxsplit=1).values
    jpeg = tf.equal(tf.strings.substr(data, 0, 2), b"\xff\xd8")
    return branch(
        tf.cast(jpeg & (tf.size(parts) == 2), tf.int32),
        [lambda parts: tf.constant(1), lambda parts: _orientation_of_tiff(parts[1])],
        parts,
    )


def _orientation_of_tiff(data: tf.Tensor) -> tf.Tensor:
    """From an EXIF block's TIFF header on: byte order, offset of the directory, its entries."""
    raw = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)  # (n,)
    size = tf.shape(raw)[0]
    raw = tf.pad(raw, [[0, _HEAD - size]])  # (HEAD,)
    little = raw[0] == ord("I")

    def number(at: tf.Tensor, size: int) -> tf.Tensor:
        """Unsigned integers of `size` bytes, at places of any shape."""
        places = at[..., None] + tf.range(size)  # (..., size)
        values = tf.gather(raw, tf.clip_by_value(places, 0, _HEAD - 1))
        powers = tf.constant([256**power for power in range(size)], tf.int32)
        return tf.reduce_sum(values * tf.where(little, powers, powers[::-1]), axis=-1)

    # Three bytes of the four: an offset beyond 16 MB is none, and would not fit into an int32.
    directory = number(tf.where(little, 4, 5), 3)
    entries = directory + 2 + _ENTRY * tf.range(_ENTRIES)  # (ENTRIES,)
    known = tf.range(_ENTRIES) < number(directory, 2)
    known &= entries + _ENTRY <= size
    values = number(entries + 8, 2)
    ours = known & (number(entries, 2) == _ORIENTATION) & (values >= 1) & (values <= 8)
    return tf.reduce_max(tf.where(ours, values, 1))


def _decode_jpeg(data: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
    """PIL takes the inks of a file without Adobe's mark for inverted, too; TensorFlow does not."""

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
    """TensorFlow wants to be told of transparency; an animation can end its process."""
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
