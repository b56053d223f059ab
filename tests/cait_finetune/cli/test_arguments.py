"""``key=value`` words: parsing, errors and help. The value of a text key is not changed."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field

import pytest
from omegaconf import MISSING

from cait_finetune.cli.arguments import helped, read_keys
from cait_finetune.errors import UserError


@dataclass
class Some:
    """What some are."""

    text: str = MISSING
    several: list[str] = field(default_factory=list)
    optional: str | None = "default"
    number: int = 1
    few: int | None = None
    sizes: list[int] = field(default_factory=list)
    ways: list[bool] = field(default_factory=list)


@pytest.mark.parametrize("text", ["*.jpg", "2024", "a: b", "[a]x*.jpg", "{a,b}", "no", "a=b"])
def test_text_is_not_yaml(text):
    assert read_keys([f"text={text}"], Some).text == text


@pytest.mark.parametrize(
    "text", ["2024_01", "it's", "a,b", "'x'", '"a b"', "~", "[a]", "1e3", "'null'"]
)
def test_text_is_what_the_main_command_reads(text):
    from cait_finetune.cli.compose import configure

    assert read_keys([f"text={text}"], Some).text == configure(f"dataset.name={text}").dataset.name
    listed = f"[{text},z]"
    ours = configure("dataset=folder", f"dataset.class_names={listed}").dataset.class_names
    assert read_keys(["text=x", f"several={listed}"], Some).several == ours


def test_a_word_that_is_not_utf_8():
    with pytest.raises(UserError, match=r"^command line: got .*, expected text in UTF-8"):
        read_keys(["text=a\udcff"], Some)


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("*.jpg", ["*.jpg"]),
        ("[*.jpg, b/]", ["*.jpg", "b/"]),
        ("[a]", ["a"]),
        ("[]", []),
        ("[ab]*.jpg", ["[ab]*.jpg"]),
        ("a,b", ["a,b"]),
        ("['a,b',c]", ["a,b", "c"]),
        ("'[a,b]'", ["[a,b]"]),
        ("[01,1_0,true]", ["01", "1_0", "true"]),
    ],
)
def test_a_list_key_reads_several_values(word, read):
    assert read_keys(["text=x", f"several={word}"], Some).several == read


@pytest.mark.parametrize(
    ("words", "read"),
    [(["sizes=8"], ([8], [])), (["sizes=[8,4]", "ways=true"], ([8, 4], [True]))],
)
def test_a_list_key_accepts_a_single_value(words, read):
    got = read_keys(["text=x", *words], Some)
    assert (got.sizes, got.ways) == read


def test_optional_and_number_keys_are_read():
    read = read_keys(["text=x", "optional=null", "number=3"], Some)
    assert (read.optional, read.number) == (None, 3)
    assert read_keys(["text=x"], Some).optional == "default"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["text=x", "numbre=2"], "numbre: got an unknown key, expected one of .*\n.*mean number"),
        (["text=x", "number=many"], "number: got 'many', expected a whole number"),
        (["text=x", "sizes=many"], r"sizes: got 'many', expected a list of whole numbers"),
        (["text="], "text: got '', expected text"),
        (["text"], "text: got nothing, expected a value\n  write text="),
        (["text=[a,", "b]"], r"b\]: got the end of a list, .*\n  Leave out the spaces in a list"),
        (["runs/1"], "runs/1: got no key, expected key=value\n  write text=runs/1"),
        (["text=x", "few=many"], "few: got 'many', expected a whole number, or null"),
        (["text=x", "train.epochs=3"], r"\n  Leave train.epochs out: this command does not read"),
        ([], "text: got nothing, expected a value\n  add text="),
    ],
)
def test_a_wrong_word_raises_an_error_that_names_its_key(words, message):
    with pytest.raises(UserError, match=message):
        read_keys(words, Some)


def test_a_value_that_a_later_word_replaces_is_named(capsys):
    assert read_keys(["text=x", "sizes=1", "sizes=2", "text=x"], Some).sizes == [2]
    assert capsys.readouterr().err == "cait_finetune: sizes=2 replaces sizes=1\n"


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_names_the_keys(word, capsys):
    assert helped(["text=x", word], "A command.", Some)
    assert capsys.readouterr().out == (
        "A command.\n\nWhat some are.\n\n"
        "  text=…   (text)\n  several=[]   (list of text)\n  optional=default   (text, or null)\n"
        "  number=1   (integer)\n  few=null   (integer, or null)\n  sizes=[]   (list of integer)\n"
        "  ways=[]   (list of true or false)\n"
    )
    assert not helped(["text=x"], "A command.", Some)


@pytest.mark.parametrize("command", ["predict", "report", "export"])
def test_the_commands_have_help(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    importlib.import_module(f"cait_finetune.commands.{command}").main()
    assert f"cait-finetune {command}" in capsys.readouterr().out
