"""The reference of all keys, and the document that holds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cait_finetune.cli.compose import configure
from cait_finetune.cli.reference import document, sections
from cait_finetune.config.suggestions import all_keys

DOCUMENT = Path(__file__).resolve().parents[3] / ".github/docs/KEYS.md"


def test_the_document_is_current():
    written = DOCUMENT.read_text(encoding="utf-8")
    assert written == document(), "python -m cait_finetune.cli.reference > .github/docs/KEYS.md"


def test_every_key_is_there_and_explained():
    keys = [one for section in sections().values() for one in section.keys]
    assert sorted(one.name for one in keys) == sorted(all_keys())
    assert [one.name for one in keys if not one.meaning.endswith(".")] == []


def test_every_option_is_explained():
    options = [(section.name, name) for section in sections().values()
               for name, text in section.options.items() if not text]  # fmt: skip
    assert options == []


def test_the_defaults_are_those_of_a_run():
    config = configure("dataset=folder", "model=cait_xxs24_224")
    for key in (one for section in sections().values() for one in section.keys):
        value = config
        for part in key.name.split("."):
            value = getattr(value, part)
        if isinstance(value, bool | int | float) and key.name != "average.export":
            assert key.default == (
                f"{value}".lower() if isinstance(value, bool) else f"{value:g}"
            ), key


@pytest.mark.parametrize(
    ("name", "values", "where"),
    [
        ("optimizer.base_lr", "number, 0 to 10", ""),
        ("optimizer.momentum", "number, 0 to below 1, or null", "optimizer.name=sgd"),
        ("train.precision", "float32 | mixed_bfloat16 | mixed_float16", ""),
        ("export.quantise", "list of float16 | int8", ""),
        ("dataset.cache_dir", "text", "dataset.cache=disk"),
        ("seed", "integer, 0 to 2,147,483,647", ""),
    ],
)
def test_the_reference_lists_the_values_and_the_condition_of_a_key(name, values, where):
    (key,) = [one for section in sections().values() for one in section.keys if one.name == name]
    assert (key.values, key.where) == (values, where)
