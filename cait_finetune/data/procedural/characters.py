"""Letters as classes: those of all scripts that the fonts shipped with matplotlib can draw.

Two letters that look the same, as A, Alpha and the Cyrillic A do, are one class; also those that
differ in size alone, as c and C do, since an image does not tell.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FONTS = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")
_MANY = "DejaVuSans.ttf"  # the font with most letters: it says which look the same
_FEWEST_FONTS = 3
_CATEGORIES = ("Lu", "Ll", "Lo")
# Letters made after digits are no letters here, as ƽ, LATIN SMALL LETTER TONE FIVE.
_OF_A_DIGIT = re.compile(r"\b(DIGIT|NUMBER|NUMERAL|TONE (TWO|FIVE|SIX))\b")
_SIZE = 48  # pixels of the font
_LOOK = 16  # pixels, at which letters are compared


@dataclasses.dataclass(frozen=True)
class Character:
    """A class: its Unicode name, the letter, and the files of the fonts that have it."""

    name: str
    letter: str
    fonts: tuple[Path, ...]


@functools.cache
def characters() -> tuple[Character, ...]:
    """All of them, in the order of their code points."""
    covered = {font: _letters(font) for font in _font_files()}
    found: dict[bytes, Character] = {}
    many = next(font for font in covered if font.name == _MANY)
    for letter in sorted(covered[many]):
        fonts = tuple(font for font, letters in covered.items() if letter in letters)
        if len(fonts) >= _FEWEST_FONTS and (look := _look(letter, many)):
            found.setdefault(look, Character(unicodedata.name(letter), letter, fonts))
    return tuple(found.values())


def draw(letter: str, font: Path) -> Image.Image:
    """White on black, as large as its ink."""
    face = _face(font)
    left, top, right, bottom = face.getbbox(letter)
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), letter, fill=255, font=face)
    return image.crop(image.getbbox() or (0, 0, 1, 1))


def is_letter(letter: str) -> bool:
    """Whether it is a letter, and neither a digit nor made after one."""
    return (
        unicodedata.category(letter) in _CATEGORIES
        and unicodedata.numeric(letter, None) is None
        and not _OF_A_DIGIT.search(unicodedata.name(letter, "DIGIT"))
    )


def _font_files() -> list[Path]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    # The display faces hold single signs.
    return sorted(
        path for names in _FONTS for path in folder.glob(names) if "Display" not in path.name
    )


def _letters(font: Path) -> set[str]:
    from matplotlib.ft2font import FT2Font

    return {chr(code) for code in FT2Font(str(font)).get_charmap() if is_letter(chr(code))}


@functools.cache
def _face(font: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font), _SIZE)


def _look(letter: str, font: Path) -> bytes:
    """What makes letters alike; empty of a letter without ink."""
    image = draw(letter, font)
    if image.getbbox() is None:
        return b""
    small = image.resize((_LOOK, _LOOK), Image.Resampling.BOX)
    proportion = round(4 * np.log2(image.width / image.height))
    # Coarse levels: a letter drawn smaller is not the same to the last grey.
    return bytes([proportion % 256]) + (np.asarray(small) // 86).tobytes()
