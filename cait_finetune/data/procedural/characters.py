"""Letters as classes: letters of all scripts that the fonts shipped with matplotlib can draw.

Letters that look the same, such as A, Alpha and the Cyrillic A, are one class. Letters that differ only
in size, such as c and C, are one class too: the images do not show the size.
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
_MANY = "DejaVuSans.ttf"  # the font with most letters: letters are compared in it
_FEWEST_FONTS = 3
_CATEGORIES = ("Lu", "Ll", "Lo")
# Letters made from digits do not count as letters: ƽ is LATIN SMALL LETTER TONE FIVE.
_OF_A_DIGIT = re.compile(r"\b(DIGIT|NUMBER|NUMERAL|TONE (TWO|FIVE|SIX))\b")
_SIZE = 48  # pixels of the font
_LOOK = 16  # pixels per side, to which letters are resized for the comparison


@dataclasses.dataclass(frozen=True)
class Character:
    """A class.

    Attributes:
        name: Unicode name of the letter.
        letter: the letter.
        fonts: files of the fonts that have the letter.
    """

    name: str
    letter: str
    fonts: tuple[Path, ...]


@functools.cache
def characters() -> tuple[Character, ...]:
    """Return all classes in the order of code points. Each letter is in at least three font files."""
    covered = {font: _letters(font) for font in _font_files()}
    found: dict[bytes, Character] = {}
    many = next(font for font in covered if font.name == _MANY)
    for letter in sorted(covered[many]):
        fonts = tuple(font for font, letters in covered.items() if letter in letters)
        if len(fonts) >= _FEWEST_FONTS and (look := _look(letter, many)):
            found.setdefault(look, Character(unicodedata.name(letter), letter, fonts))
    return tuple(found.values())


def draw(letter: str, font: Path) -> Image.Image:
    """Draw a letter in white on black, as an "L" image cropped to the letter."""
    face = _face(font)
    left, top, right, bottom = face.getbbox(letter)
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), letter, fill=255, font=face)
    return image.crop(image.getbbox() or (0, 0, 1, 1))


def is_letter(letter: str) -> bool:
    """Whether a character is a letter, and is neither a digit nor a letter made from a digit."""
    return (
        unicodedata.category(letter) in _CATEGORIES
        and unicodedata.numeric(letter, None) is None
        and not _OF_A_DIGIT.search(unicodedata.name(letter, "DIGIT"))
    )


def _font_files() -> list[Path]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    # The Display fonts have only a few characters.
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
    """Return bytes that are equal for letters that look the same. Empty: the font draws nothing."""
    image = draw(letter, font)
    if image.getbbox() is None:
        return b""
    small = image.resize((_LOOK, _LOOK), Image.Resampling.BOX)
    proportion = round(4 * np.log2(image.width / image.height))
    # Few grey levels: a letter and its smaller form have slightly different greys after resizing.
    return bytes([proportion % 256]) + (np.asarray(small) // 86).tobytes()
