"""``key=value`` words: text stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from omegaconf import MISSING

from cait_finetune.errors import UserError
from cait_finetune.keys import read_keys


@dataclass
class Some:
    text: str = MISSING
    several: list[str] = field(default_factory=list)
    optional: str | None = "default"
    number: int = 1


@pytest.mark.parametrize("text", ["*.jpg", "2024", "a: b", "[a]x*.jpg", "{a,b}", "no", "a=b"])
def test_text_is_not_yaml(text):
    assert read_keys([f"text={text}"], Some).text == text


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("*.jpg", ["*.jpg"]),
        ("[*.jpg, b/]", ["*.jpg", "b/"]),
        ("[a]", ["a"]),
        ("[]", []),
        ("[ab]*.jpg", ["[ab]*.jpg"]),
        ("a,b", ["a,b"]),
    ],
)
def test_several(word, read):
    assert read_keys(["text=x", f"several={word}"], Some).several == read


def test_other_kinds():
    read = read_keys(["text=x", "optional=null", "number=3"], Some)
    assert (read.optional, read.number) == (None, 3)
    assert read_keys(["text=x"], Some).optional == "default"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text=x", "numbre=2"], "numbre: got an unknown key, expected one of .*\n.*mean number"),
        (["text=x", "number=many"], "number: got 'many', expected a value of type int"),
        (["text="], "text: got '', expected a value of type str"),
        (["text"], "text: got nothing, expected a value\n  write text="),
        ([], "text: got nothing, expected a value\n  add text="),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(UserError, match=message):
        read_keys(words, Some)
