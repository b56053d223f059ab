"""Build BMP files byte by byte, because PIL writes only three of the BMP forms."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from tests.cait_finetune.stand_ins import picture

H, W = 13, 21


def bitmap(
    bits: int,
    rows: Sequence[bytes],
    header: int = 40,
    kind: int = 0,
    palette: bytes = b"",
    colours: int | None = None,
    masks: Sequence[int] = (),
    top_down: bool = False,
    gap: int = 0,
) -> bytes:
    """Return a BMP of H × W pixels. `rows` start at the top of the image and are padded."""
    pixels = b"".join(rows if top_down else rows[::-1])
    if header == 12:
        head = struct.pack("<IHHHH", 12, W, H, 1, bits)
    else:
        height = -H if top_down else H
        count = len(palette) // 4 if colours is None else colours
        kind = kind or (3 if masks else 0)
        head = struct.pack(
            "<IiiHHIIiiII", header, W, height, 1, bits, kind, len(pixels), 0, 0, count, 0
        )[:header]
        head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(header, b"\0")
    offset = 14 + len(head) + len(palette) + gap
    start = b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset)
    return start + head + palette + bytes(gap) + pixels


def palette(count: int, size: int = 4) -> bytes:
    """Return `count` random colours of `size` bytes each: 3 or 4."""
    return np.random.default_rng(count).integers(0, 256, (count, size)).astype("uint8").tobytes()


def numbers(bits: int) -> list[bytes]:
    """Return padded rows of random palette indices. An index takes `bits` bits."""
    values = np.random.default_rng(bits).integers(0, 2**bits, (H, W)).astype("uint8")
    as_bits = np.unpackbits(values[..., None], axis=2)[..., -bits:].reshape(H, -1)
    return [_padded(np.packbits(row).tobytes()) for row in as_bits]


def picture_rows(bits: int) -> list[bytes]:
    """Return padded rows of `picture` pixels. A pixel takes `bits` bits."""
    pixels = np.concatenate([picture(H, W), picture(H, W, 1)], -1)[..., : bits // 8]
    return [_padded(row.tobytes()) for row in pixels]


def _padded(row: bytes) -> bytes:
    return row + bytes(-len(row) % 4)
