"""Recognise the format of a file by its first bytes, and whether TensorFlow decodes this format."""

from __future__ import annotations

from cait_finetune.data import bmp, tiff

#: Bytes that `fault` examines: one page of a disk. A TIFF is examined whole, because its tags may lie
#: anywhere. If previews and a colour profile push a JPEG's frame header further back, the JPEG passes.
HEAD = 4096

_NPY = b"\x93NUMPY"
_PNG = b"\x89PNG\r\n\x1a\n"
_MARK = 132  # bytes up to the end of DICOM's mark
_MOST_PIXELS = 2**29  # TensorFlow refuses images with this number of pixels or more
_SHORT_OS2 = 16  # bytes of a short OS/2 header of a BMP, which neither PIL nor `data.bmp` reads


def fault(content: bytes, bands: bool = False) -> str:
    """Return why TensorFlow cannot decode a file with this content. Empty: no fault found.

    Args:
        content: the bytes of the file, or the first `HEAD` bytes.
        bands: images have another number of channels than 3. Then NPY and TIFF are read, but not BMP,
            WebP or GIF, which hold colours.
    """
    head = content[:HEAD]
    if bands and tiff.is_tiff(head):
        return tiff.fault(content)
    if bands and head.startswith(_NPY):
        return ""
    if bands and not head.startswith((b"\xff\xd8\xff", _PNG)):
        return _stranger(head)
    if head[:2] == b"BM":  # a text may begin with these two letters, too
        header = _little(head, 14, 4)
        return _of_bmp(head) if header in (*bmp.HEADERS, _SHORT_OS2) else _stranger(head)
    if head.startswith(b"\xff\xd8\xff"):
        return _of_jpeg(head)
    if head.startswith(_PNG):
        if head[12:16] == b"CgBI":
            return "a PNG made for iPhones: convert it with pngcrush -revert-iphone-optimizations"
        return _too_large(_big(head, 16, 4), _big(head, 20, 4))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        animated = head[12:16] == b"VP8X" and head[20:21] and head[20] & 0x02
        return "an animated WebP" if animated else ""
    return "" if head.startswith((b"GIF87a", b"GIF89a")) else _stranger(head)


def is_deep_png(head: bytes) -> bool:
    """Return whether a file with these first bytes is a PNG with 16 bits a channel."""
    return head.startswith(_PNG) and head[24:25] == b"\x10"


def _of_bmp(head: bytes) -> str:
    header = _little(head, 14, 4)
    if header == _SHORT_OS2:
        return "a BMP of OS/2 with a short header: convert it to PNG"
    core = header == bmp.HEADERS[0]
    bits = _little(head, 24 if core else 28, 2)
    kind = 0 if core else _little(head, 30, 4)
    names = {1: "RLE8", 2: "RLE4", 3: "Huffman", 4: "JPEG", 5: "PNG"}
    if header == 64:  # OS/2's
        names[4] = "RLE24"
    masks = [_little(head, at, 4) for at in (54, 58, 62)]
    if kind == bmp.MASKED and bits >= 16:
        usual = all(_is_mask(mask, bits) for mask in masks) or not any(masks)
        return "" if usual else "a BMP with unusual colour masks: convert it to PNG"
    if kind != bmp.PLAIN:
        return f"a BMP with {names.get(kind, 'unknown')} compression: convert it to PNG"
    return "" if bits in bmp.BITS else f"a BMP of {bits} bits a pixel: convert it to PNG"


def _is_mask(mask: int, bits: int) -> bool:
    """Whether `data.bmp` reads a BMP with this mask of red, green or blue."""
    if bits == 16:
        return 0 < mask < 2**16 and not (mask // (mask & -mask) + 1) & (mask // (mask & -mask))
    return mask in (0xFF, 0xFF00, 0xFF0000, 0xFF000000)


def _of_jpeg(head: bytes) -> str:
    at = 2
    while at + 10 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _FRAMES or marker == 0xF7:
            return _of_frame(marker, head[at + 4 :])
        elif marker == 0xDA:
            return ""
        else:
            at += 2 + _big(head, at + 2, 2)
    return ""


#: Markers of a JPEG's frame: 0xC0 to 0xCF without tables (C4, CC) and an extension (C8).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _of_frame(marker: int, frame: bytes) -> str:
    bits, height, width, colours = frame[0], _big(frame, 1, 2), _big(frame, 3, 2), frame[5]
    if marker == 0xF7:
        return "JPEG-LS"
    if marker in (0xC3, 0xCB):
        return "a lossless JPEG: convert it to PNG"
    if marker not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
        return "a hierarchical JPEG"
    if bits != 8:
        return f"a JPEG of {bits} bits: convert it to 8"
    if colours not in (1, 3, 4):
        return f"a JPEG of {colours} colours"
    return _too_large(width, height)


def _too_large(width: int, height: int) -> str:
    return f"{width:,} x {height:,} pixels" if width * height >= _MOST_PIXELS else ""


def _little(head: bytes, at: int, size: int) -> int:
    return int.from_bytes(head[at : at + size], "little")


def _big(head: bytes, at: int, size: int) -> int:
    return int.from_bytes(head[at : at + size], "big")


def _stranger(head: bytes) -> str:
    """Return the name of a format that TensorFlow does not decode, or "no image"."""
    head = head[:_MARK]
    marks = {
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        _NPY: "NPY, which is read only with another model.in_channels than 3",
        b"8BPS": "Photoshop",
        b"%PDF": "PDF",
        b"PK\3\4": "ZIP",
        b"\x1f\x8b": "gzip",
        b"\0\0\1\0": "an icon",
        b"\0\0\0\x0cjP  ": "JPEG 2000",
        b"\0\0\0\x0cJXL ": "JPEG XL",
        b"\xff\x0a": "JPEG XL",
        b"version https://git-lfs": "a Git LFS pointer: git lfs pull fetches the image",
    }
    for mark, kind in marks.items():
        if head.startswith(mark):
            return kind
    if head[4:8] == b"ftyp":
        brands = {b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC", b"avi": "AVIF"}
        return brands.get(head[8:11], "a video")
    if head[128:132] == b"DICM":
        return "DICOM"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if text.startswith((b"<?xml", b"<svg")):
        return "SVG or other XML"
    if not head.strip(b"\0"):
        return "zeros"
    printable = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return "text" if printable and head.isascii() else "no image"
