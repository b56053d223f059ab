"""Letters of all scripts, without digits. Letters that look the same are one class."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from cait_finetune.data.procedural.characters import characters, draw, is_letter


@pytest.mark.parametrize("letter", "aÄßЖωאش")
def test_is_letter_accepts_letters_of_several_scripts(letter):
    assert is_letter(letter)


@pytest.mark.parametrize("letter", "07²½①٣߁ⅣƧƽ.→ ")
def test_is_letter_refuses_digits_and_other_signs(letter):
    assert not is_letter(letter)


def test_no_class_has_a_numeric_value():
    assert all(unicodedata.numeric(one.letter, None) is None for one in characters())
    assert not any("DIGIT" in one.name or "NUMERAL" in one.name for one in characters())


def test_over_800_characters_have_three_fonts_and_unique_names():
    assert len(characters()) > 800
    assert all(len(one.fonts) >= 3 for one in characters())
    assert len({one.name for one in characters()}) == len(characters())


def test_letters_that_look_the_same_are_one_class():
    letters = {one.letter for one in characters()}
    assert "A" in letters
    assert not letters & {"Α", "А"}  # Greek Alpha and Cyrillic A
    assert {"E", "F", "Ж", "ω"} <= letters


def test_a_drawn_letter_fills_its_picture():
    one = next(one for one in characters() if one.letter == "H")
    for font in one.fonts:
        ink = np.asarray(draw("H", font)) > 0
        assert ink[:, [0, -1]].any(axis=0).all()
        assert ink[[0, -1]].any(axis=1).all()
