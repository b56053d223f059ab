"""Letters of all scripts, without digits. Letters that look the same are one class."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from cait_finetune.data.procedural.characters import characters, draw, is_letter


@pytest.mark.parametrize("letter", "aÄßЖωאش")
def test_letters(letter):
    assert is_letter(letter)


@pytest.mark.parametrize("letter", "07²½①٣߁ⅣƧƽ.→ ")
def test_no_digit_nor_what_is_made_after_one_nor_another_sign(letter):
    assert not is_letter(letter)


def test_no_class_has_a_numeric_value():
    assert all(unicodedata.numeric(one.letter, None) is None for one in characters())
    assert not any("DIGIT" in one.name or "NUMERAL" in one.name for one in characters())


def test_there_are_many_classes_each_in_several_fonts_and_with_a_name_of_its_own():
    assert len(characters()) > 800
    assert all(len(one.fonts) >= 3 for one in characters())
    assert len({one.name for one in characters()}) == len(characters())


def test_what_looks_the_same_is_one_class():
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
