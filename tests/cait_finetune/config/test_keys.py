"""Declarations of keys: their checks, and that every key of the configuration has one."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

from cait_finetune.config import Config
from cait_finetune.config.keys import check_keys, declared, key
from cait_finetune.errors import UserError


@dataclasses.dataclass
class Group:
    rate: float | None = key("A rate.", 0.5, low=0, high=1, open_high=True)
    shares: list[float] = key("Shares.", [0.1], low=0)
    kinds: list[str] = key("Kinds.", [], choices=("a", "b"))
    free: str = key("Any text.", "x")


def test_defaults_pass_the_check():
    check_keys(Group(), "group")
    assert Group().shares is not Group().shares


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"rate": 1.0}, r"group\.rate: got 1\.0, expected a number in \[0, 1\)"),
        ({"shares": [0.5, -1]}, r"group\.shares: got -1, expected a number in \[0, inf\)"),
        ({"kinds": ["a", "c"]}, r"group\.kinds: got 'c', expected one of a, b"),
    ],
)
def test_a_value_outside_its_declaration(value, message):
    with pytest.raises(UserError, match=message):
        check_keys(Group(**value), "group")


def test_null_and_a_group_without_a_name():
    check_keys(Group(rate=None), "group")
    with pytest.raises(UserError, match=r"^rate: got 2"):
        check_keys(Group(rate=2), "")


def _undeclared(schema, prefix=""):
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _undeclared(hints[field.name], f"{prefix}{field.name}.")
        elif declared(field) is None:
            yield prefix + field.name


def test_every_key_is_declared():
    assert list(_undeclared(Config)) == []
