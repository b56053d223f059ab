"""Hydra reads the value of a text key exactly as the user typed it."""

from __future__ import annotations

import random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cait_finetune.config.words import keep_text, quoted, read_text, unquoted
from cait_finetune.errors import UserError

RAW = [
    "2024_01", "1e3", "1.10", "01", "0x10", "1_000", "true", ".5", "1:30", "2024-01-02", "inf", "nan", "-inf", "~",
    "~/photos", "d/été", "a#b", "photos (1)", "a=b", "x:y", "a,b", "[a,b]", "{a: b}", "it's", 'say "x"', "a b",
    "$HOME", "a\\", "a\\\\", "a\\'b", "\\'", "choice(a,b)", "range(3)", "a/2024/b", "日本", " a ", "a\nb", "%5", "-x", " ", "\t",
]  # fmt: skip


def read(word: str) -> object:
    return OverridesParser.create().parse_override(word).value()


@pytest.mark.parametrize("text", RAW)
@pytest.mark.parametrize("key", ["dataset.name", "dataset.data_dir", "hydra.run.dir", "+resume"])
def test_text_has_the_characters_that_were_typed(key, text):
    (word,) = keep_text([f"{key}={text}"])
    assert read(word) == text
    assert keep_text([word]) == [word]
    assert unquoted(word) == f"{key}={text}"
    assert read_text(quoted(text)) == text


def test_any_text_is_read_as_it_was_typed():
    draw = random.Random(0)
    for _ in range(400):
        text = "".join(draw.choices("ab1_.'\"\\,[]{}()$ =:#~/%é", k=draw.randint(1, 7)))
        if read_text(text) == text and text.strip() and "${" not in text:
            assert read(*keep_text([f"dataset.name={text}"])) == text


@pytest.mark.parametrize(
    ("typed", "value"),
    [("'2024_01'", "2024_01"), ('"a, b"', "a, b"), ("'it\\'s'", "it's"), ("'null'", "null"),
     ("null", None), ("NULL", None), ("", None), ("''", ""), ("multirun/${oc.env:A,b}", "multirun/${oc.env:A,b}")],
)  # fmt: skip
def test_quotes_null_and_interpolations_are_hydra_s(typed, value):
    assert read(*keep_text([f"dataset.data_dir={typed}"])) == value


@pytest.mark.parametrize(
    ("typed", "value"),
    [("[01,1_0,true]", ["01", "1_0", "true"]), ("[no, null]", ["no", "null"]), ("[]", []), ("null", None),
     ("['a,b',c]", ["a,b", "c"]), ("[a[1],b]", ["a[1]", "b"]), ("a,b", ["a,b"]), ("2024_01", ["2024_01"]),
     ("['x]',it's]", ["x]", "it's"])],
)  # fmt: skip
def test_a_list_of_text(typed, value):
    (word,) = keep_text([f"dataset.class_names={typed}"])
    assert read(word) == value
    assert read(*keep_text([unquoted(word)])) == value


@pytest.mark.parametrize(
    "word",
    ["dataset=flowers", "seed=1_0", "augment.crop_scale=[0.5,1]", "~dataset.data_dir", "export=[onnx,timm]",
     "model=glob(*)", "optimizer.base_lr=1e-3", "model.weights=hub", "dataset.data_dir=/a/b-c.d", "bad",
     "dataset@x.y=01", "dataset.class_names=[a,,b]"],
)  # fmt: skip
def test_keep_text_leaves_other_words_unchanged(word):
    assert keep_text([word]) == [word]
    assert keep_text([word.replace(",,", ",")], sweep=True) == [word.replace(",,", ",")]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("dataset.data_dir=2024_01, 1e3", ["2024_01", "1e3"]),
        ("dataset.data_dir=null,a b", [None, "a b"]),
        ("dataset.data_dir='a,b',c", ["a,b", "c"]),
        ("dataset.data_dir=choice(01,1e3)", ["01", "1e3"]),
        ("dataset.data_dir=tag(x, choice(01,02))", ["01", "02"]),
        ("dataset.data_dir=sort(choice(03,01))", ["01", "03"]),
        ("dataset.data_dir=sort(03,01,reverse=true)", ["03", "01"]),
        ("dataset.class_names=[x,1e3],[z]", [["x", "1e3"], ["z"]]),
        ("dataset.class_names=choice([x,1e3],[z])", [["x", "1e3"], ["z"]]),
        ("dataset.data_dir=choice('1e3', 'a,b', c, é (1))", ["1e3", "a,b", "c", "é (1)"]),
        ("dataset.data_dir=choice(1e3)", ["1e3"]),
        ("seed=range(3)", [0, 1, 2]),
    ],
)
def test_with_several_runs_a_comma_separates(word, values):
    (kept,) = keep_text([word], sweep=True)
    override = OverridesParser.create().parse_override(kept)
    each = [f"{override.key_or_group}={one}" for one in override.sweep_string_iterator()]
    assert [read(one) for one in each] == values
    assert keep_text([kept], sweep=True) == [kept]


def test_one_value_of_several_runs():
    (word,) = keep_text(["hydra.sweep.dir=multirun/${oc.env:A,b}/1_0"], sweep=True)
    assert read(word) == "multirun/${oc.env:A,b}/1_0"


def test_text_inside_of_braces():
    fine = "dataset.splits={train: a, test: null}"
    assert keep_text([fine]) == [fine]
    with pytest.raises(UserError, match=r"^dataset\.splits\.train: got 202401 inside of"):
        keep_text(["dataset.splits={train: 2024_01}"])
    with pytest.raises(UserError, match=r"^dataset\.columns\.classes: got 10"):
        keep_text(["dataset={columns: {classes: [a,1_0]}}"])


def test_glob_is_for_groups():
    with pytest.raises(UserError, match=r"^dataset\.data_dir: got glob\(\*\), expected the values"):
        keep_text(["dataset.data_dir=glob(*)"], sweep=True)
    assert keep_text(["dataset.data_dir=glob(*)"]) == ["dataset.data_dir='glob(*)'"]


def test_a_word_that_is_not_utf_8():
    with pytest.raises(
        UserError, match=r"^command line: got 'dataset\.data_dir=a\\udcff', expected"
    ):
        keep_text(["dataset.data_dir=a\udcff"])
